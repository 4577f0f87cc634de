"""Where the values of a page lead: addresses of lists and things, and the columns that many tables share."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from panda.domain.states import FINAL_TASK, JobStatus
from panda_api.monitor.asked import Asked, address, only
from panda_api.monitor.blocks import Choice, Column, Facet, Facets, Row
from panda_api.monitor.charts import Part

STATES = tuple(one.value for one in JobStatus if one is not JobStatus.MERGING)
NO_SITE = "There is no site yet: `panda grid load` reads sites from a file (docs/how-to/add-a-site.md)."
NOT_ENDED = "|".join(f"-{one.value}" for one in sorted(FINAL_TASK))
FINAL = ("finished", "failed", "cancelled", "closed")


def nothing(asked: Asked, what: str, else_: str) -> str:
    """What to say of an empty list: that no `what` matches, or, without a filter, how it is filled."""
    return f"No {what} matches this filter." if asked.filters else else_


def unknown_states(asked: Asked) -> str:
    """What to say of a list that is empty because its address asks for states that no job has."""
    wanted = asked.filters["status"].wanted if "status" in asked.filters else ()
    unknown = [one.literal for one in wanted if one.literal is not None and one.literal not in set(JobStatus)]
    return f" {', '.join(unknown)} is no state of a job; they are {', '.join(JobStatus)}." if unknown else ""


def task_link(key: str = "task_id") -> Any:
    """Lead from a row to the page of its task."""
    return lambda row: f"/task/{row[key]}" if row.get(key) else None


def job_link(key: str = "id") -> Any:
    """Lead from a row to the page of its job."""
    return lambda row: f"/job/{row[key]}" if row.get(key) else None


def site_link(key: str = "site") -> Any:
    """Lead from a row to the page of its site."""
    return lambda row: site_page(row[key]) if row.get(key) else None


def user_link(key: str = "owner") -> Any:
    """Lead from a row to the page of its user."""
    return lambda row: user_page(row[key]) if row.get(key) else None


def dataset_link(key: str = "dataset") -> Any:
    """Lead from a row to the page of its dataset."""
    return lambda row: dataset_page(row[key]) if row.get(key) else None


def site_page(name: str) -> str:
    """The page of a site."""
    return f"/site/{quote(name, safe='')}"


def user_page(name: str) -> str:
    """The page of a user."""
    return f"/user/{quote(name, safe='')}"


def dataset_page(name: str) -> str:
    """The page of a dataset."""
    return f"/dataset/{quote(name, safe=':')}"


def jobs_page(asked: Asked, names: Iterable[str], **more: object) -> str:
    """The list of the jobs that a number counts: what the address says that both pages know, and what is added."""
    return address("/jobs", **{**asked.kept(names), **{name: only(value) for name, value in more.items()}})


def facets(asked: Asked, rows: Sequence[Row]) -> Facets:
    """The attribute summary of a list: choosing a value narrows the list to it."""
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        by_name.setdefault(row["attribute"], []).append(row)
    return Facets(
        "summary",
        [
            Facet(
                name,
                [_choice(asked, name, row) for row in found],
                found[0]["values"],
            )
            for name, found in by_name.items()
        ],
    )


def _choice(asked: Asked, name: str, row: Row) -> Choice:
    filter_ = only(row["value"])
    chosen = asked.given.get(name) == filter_
    link = asked.here(**{name: None if chosen else filter_})
    return Choice(row["value"], row["n"], link, chosen)


def in_order(facet: Facets, names: Sequence[str]) -> Facets:
    """The same with its attributes in this order."""
    by_name = {one.name: one for one in facet.facets}
    return Facets(facet.name, [by_name[name] for name in names if name in by_name], facet.title)


def job_parts(jobs: Mapping[str, int], link: Any) -> list[Part]:
    """Jobs by state as parts of a bar, in the order of a job's life, ended ones first."""
    order = (
        "finished",
        "failed",
        "closed",
        "cancelled",
        "transferring",
        "merging",
        "holding",
        "running",
        "starting",
        "sent",
        "activated",
        "assigned",
        "waiting",
        "defined",
    )
    return [Part(state, jobs[state], state, link(state)) for state in order if jobs.get(state)]


def error_words(errors: Sequence[Mapping[str, Any]]) -> str:
    """The errors of a job in one line: `pilot:1305 payload failed`."""
    return "; ".join(f"{one['component']}:{one['code']} {one.get('text') or ''}".strip() for one in errors)


JOB_COLUMNS = (
    Column("id", "job", "id", job_link("id"), sort="id"),
    Column("status", "state", "state", sort="status"),
    Column("task_id", "task", "id", task_link(), sort="task"),
    Column("task_name", "task name", "name"),
    Column("site", "site", "text", site_link(), sort="site"),
    Column("attempt", "attempt", "int", sort="attempt"),
    Column("priority", "priority", "int", sort="priority"),
    Column("owner", "user", "text", user_link()),
    Column("node", "node", "name"),
    Column("created_at", "made", "ago"),
    Column("since", "in state", "for"),
    Column("wall_s", "wall time", "seconds", sort="wall"),
    Column("said", "why", "long"),
)


def job_rows(found: Sequence[Row]) -> list[dict[str, Any]]:
    """Jobs as rows of a table: what is said of them is their errors, or why they are in their state."""
    return [{**row, "said": error_words(row["errors"]) or row["why"]} for row in found]
