"""A page's main table as CSV that no spreadsheet takes for formulas."""

import csv
import dataclasses
import io
from collections.abc import Mapping
from datetime import datetime

import orjson

from panda.errors import BadRequest
from panda_api.monitor.blocks import Page, Table


def _table(page: Page) -> Table:
    if not page.main:
        raise BadRequest("this page has no table", hint="it answers ?json")
    table = page.block(page.main)
    if not isinstance(table, Table):
        raise TypeError(f"{page.main} is no table")
    return table


def written(page: Page) -> str:
    """The main table as CSV, with its keys as heads; raises BadRequest for a page without one."""
    table = _table(page)
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([one.key for one in table.columns])
    for row in table.rows:
        writer.writerow([_cell(row.get(one.key)) for one in table.columns])
    return out.getvalue()


def named(page: Page) -> dict[str, str]:
    """Headers: the file's name, and how many rows there are in all where the table is a part."""
    table = _table(page)
    total = {} if table.total is None else {"X-Total-Count": str(table.total)}
    return {"Content-Disposition": f'attachment; filename="{page.main}.csv"', **total}


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping | list | tuple) or dataclasses.is_dataclass(value):
        return orjson.dumps(value, default=str).decode()
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text
