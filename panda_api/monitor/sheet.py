"""A page's tables as CSV that no spreadsheet takes for formulas."""

import csv
import dataclasses
import io
from collections.abc import Mapping
from datetime import datetime

import orjson

from panda.errors import BadRequest
from panda_api.monitor.blocks import Page, Table


def _table(page: Page, name: str) -> Table:
    tables = {one.name: one for one in page.blocks if isinstance(one, Table)}
    wanted = page.main if name in {"", "1"} else name
    if wanted not in tables:
        said = f"it has {', '.join(f'csv={one}' for one in tables)}" if tables else "it answers ?json"
        raise BadRequest(f"this page has no table {wanted}".rstrip(), hint=said)
    return tables[wanted]


def written(page: Page, name: str) -> str:
    """A table of the page (no name: its main one) as CSV, its keys as heads; raises BadRequest if it is not there."""
    table = _table(page, name)
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([one.key for one in table.columns])
    for row in table.rows:
        writer.writerow([_cell(row.get(one.key)) for one in table.columns])
    return out.getvalue()


def named(page: Page, name: str) -> dict[str, str]:
    """Headers: the file's name, and how many rows there are in all where the table is a part."""
    table = _table(page, name)
    total = {} if table.total is None else {"X-Total-Count": str(table.total)}
    return {"Content-Disposition": f'attachment; filename="{table.name}.csv"', **total}


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping | list | tuple) or dataclasses.is_dataclass(value):
        return orjson.dumps(value, default=str).decode()
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text
