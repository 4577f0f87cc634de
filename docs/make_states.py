#!/usr/bin/env python3
"""Makes docs/reference/states.md from the tables of `panda.domain`; `make docs` calls it, a test compares."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from panda.domain.prodstates import (
    PROD_JOB_CHANGES,
    PROD_TASK_CHANGES,
    ProdJobState,
    ProdTaskState,
    prod_job_state,
    prod_task_state,
)
from panda.domain.states import BUNCH_CHANGES, JOB_CHANGES, TASK_CHANGES, BunchState, JobStatus, TaskStage

S = TypeVar("S", bound=StrEnum)
Changes: TypeAlias = Mapping[Any, frozenset[S]]

PAGE = Path(__file__).parent / "reference" / "states.md"
HEAD = """# States

Made by `make docs` from `panda/domain/states.py` and `panda/domain/prodstates.py`. What is not in these tables cannot
happen: every change in SQL names the old state in its WHERE clause, so whoever comes second changes nothing.
"""
JOBS = """Until a pilot gets a job, its bunch speaks for it; then it carries a state of its own. A final state never
changes; a retry is a new row with the next attempt number.
"""


def page() -> str:
    """The whole page."""
    parts = [
        HEAD,
        "## Bunch\n\nA bunch is some consecutive jobs of a task that are brokered, staged and activated together.\n",
        *_drawn(BUNCH_CHANGES, BunchState, BunchState.DEFINED),
        f"## Job\n\n{JOBS}",
        *_drawn(JOB_CHANGES, JobStatus, None),
        "## Production task\n\n`done`: everything was made; `finished`: a part of it; `failed`: nothing.\n",
        *_drawn(TASK_CHANGES, TaskStage, TaskStage.REGISTERED),
        "## ProdDB\n\nBamboo mirrors PanDA's current state into ProdDB; states that were short may be skipped.\n",
        _mirror("task in PanDA", "`etask.status`", {one.value: prod_task_state(one).value for one in TaskStage}),
        _mirror("job in PanDA", "`ejobdef.state`", {one.value: prod_job_state(one).value for one in JobStatus}),
        "Changes of `etask.status`:\n",
        _table(PROD_TASK_CHANGES, ProdTaskState),
        "Changes of `ejobdef.state`:\n",
        _table(PROD_JOB_CHANGES, ProdJobState),
    ]
    return "\n".join(parts)


def _drawn(changes: Changes[S], states: type[S], first: S | None) -> Iterator[str]:
    """One kind of thing: its diagram, and the same as a table for those who cannot see it."""
    anywhere = frozenset.intersection(*changes.values())  # where every living state leads to is drawn once
    indent = "        " if anywhere else "    "
    yield "```mermaid\nstateDiagram-v2"
    if anywhere:
        yield "    [*] --> living\n    state living {"
    if first is not None:
        yield f"{indent}[*] --> {first.value}"
    for old, news in changes.items():
        source = "[*]" if old is None else old.value
        yield from (f"{indent}{source} --> {new.value}" for new in _ordered(news - anywhere, states))
    if anywhere:
        yield "    }"
        yield from (f"    living --> {new.value}" for new in _ordered(anywhere, states))
    yield from (f"    {one.value} --> [*]" for one in states if _reached(one, changes) and not changes.get(one))
    yield "```\n"
    yield _table(changes, states)


def _reached(state: S, changes: Changes[S]) -> bool:
    return any(state in news for news in changes.values())


def _table(changes: Changes[S], states: type[S]) -> str:
    lines = ["| from | to |", "|---|---|"]
    for old in [*([None] if None in changes else []), *states]:
        name = "(its bunch speaks for it)" if old is None else f"`{old.value}`"
        if old is None or old in changes or _reached(old, changes):
            news = ", ".join(f"`{new.value}`" for new in _ordered(changes.get(old, frozenset()), states))
            lines.append(f"| {name} | {news or 'final'} |")
    return "\n".join([*lines, ""])


def _ordered(news: frozenset[S], states: type[S]) -> list[S]:
    return [one for one in states if one in news]


def _mirror(left: str, right: str, pairs: Mapping[str, str]) -> str:
    rows = [f"| `{ours}` | `{theirs}` |" for ours, theirs in pairs.items()]
    return "\n".join([f"| {left} | {right} |", "|---|---|", *rows, ""])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
