"""The parameters of jobs as their pilots get them: placeholders filled, outputs by their names in the catalogue."""

from collections.abc import Mapping, Sequence

from sqlalchemy import RowMapping

from panda.domain.templates import fill, is_plain, lfn_of
from panda.services.context import Context
from panda.services.handing import job_numbers
from panda.store import handover, inputs


def parameters_of(ctx: Context, templates: Mapping[int, str]) -> dict[int, str]:
    """The parameters of jobs, by id, where these are their templates; what a site adds for images is left out."""
    asked = [job for job, template in templates.items() if not is_plain(template)]
    if not asked:
        return dict(templates)
    with ctx.engine.connect() as connection:
        rows = handover.jobs_ever(connection, asked)
        files: dict[int, list[RowMapping]] = {}
        for file in inputs.files_of_jobs_ever(connection, asked):
            files.setdefault(file["job_id"], []).append(file)
    filled = {row["id"]: _filled(row, files.get(row["id"], ()), templates[row["id"]], ctx) for row in rows}
    return {**templates, **filled}


def _filled(row: RowMapping, files: Sequence[RowMapping], template: str, ctx: Context) -> str:
    numbers = job_numbers(row, files, ctx.settings.api_url)
    outputs = tuple(lfn_of(one["lfn"], numbers) for one in row["outputs"] if one["kind"] != "log")
    return fill(template, numbers._replace(outputs=outputs))
