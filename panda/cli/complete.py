"""Owns what a shell offers for words that only the API knows: tasks, sites, datasets, pilots. Silent on any failure."""

import os
from collections.abc import Callable
from typing import TypeAlias

import typer

from panda.cli.remote import VARIABLE, Api, api
from panda.domain.views.grid import SiteView, WorkerView
from panda.domain.views.work import DatasetView, TaskView
from panda.errors import PandaError

MOST = 200
PATIENCE_S = 3.0
"""A shell waits for the answer."""

Offered: TypeAlias = list[tuple[str, str]]


def tasks(context: typer.Context, incomplete: str) -> Offered:
    """Production tasks that begin with these digits, the newest first, with their names."""
    return _offered(context, incomplete, _tasks)


def sites(context: typer.Context, incomplete: str) -> Offered:
    """Sites, with their status."""
    return _offered(context, incomplete, _sites)


def queues(context: typer.Context, incomplete: str) -> Offered:
    """Queues, with their sites."""
    return _offered(context, incomplete, _queues)


def datasets(context: typer.Context, incomplete: str) -> Offered:
    """Datasets, with their state."""
    return _offered(context, incomplete, _datasets)


def things(context: typer.Context, incomplete: str) -> Offered:
    """What `panda why KIND` can be asked about; the kind is the word before."""
    known = {"task": _tasks, "site": _sites, "dataset": _datasets, "pilot": _pilots}
    kind = known.get(str(context.params.get("kind") or ""))
    return _offered(context, incomplete, kind) if kind is not None else []


def _offered(context: typer.Context, incomplete: str, ask: Callable[[Api, str], Offered]) -> Offered:
    given = context.find_root().params.get("api_url")
    if given:
        os.environ[VARIABLE] = given
    try:
        with api(patience_s=PATIENCE_S) as panda:
            return [one for one in ask(panda, incomplete) if one[0].startswith(incomplete)]
    except PandaError:
        return []


def _tasks(panda: Api, _incomplete: str) -> Offered:
    return [(str(one.id), f"{one.name}, {one.stage.value}") for one in panda.look("tasks", list[TaskView], limit=MOST)]


def _sites(panda: Api, _incomplete: str) -> Offered:
    return [(one.name, one.status) for one in panda.look("sites", list[SiteView])]


def _queues(panda: Api, _incomplete: str) -> Offered:
    return [(queue, one.name) for one in panda.look("sites", list[SiteView]) for queue in one.queues]


def _datasets(panda: Api, incomplete: str) -> Offered:
    found = panda.look("datasets", list[DatasetView], name=f"{incomplete}*", limit=MOST)
    return [(one.name, one.state) for one in found]


def _pilots(panda: Api, _incomplete: str) -> Offered:
    found = panda.look("workers", list[WorkerView], limit=MOST)
    return [(f"{one.factory}:{one.worker_id}", one.status) for one in found]
