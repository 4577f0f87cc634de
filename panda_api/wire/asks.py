"""Requests for work in plain words: most of them, understood without their model (a test feeds both the same)."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from panda.domain.dispatch import PilotAsk
from panda_api.wire.pilot import HARVESTER, MAX_JOBS, AcquireJobs
from panda_api.wire.plain import Table, is_name, is_plain

_MOST_WAIT_S = 60
_MOST_RELEASES = 10_000
_FASTEST_MHZ = 1e9


def _is_nothing(value: Any) -> bool:
    return value is None


def _may_be_name(value: Any) -> bool:
    return value is None or is_name(value)


def _is_speed(value: Any) -> bool:
    return value is None or (value.__class__ in {float, int} and bool(0 <= value <= _FASTEST_MHZ))


def _is_factory(value: Any) -> bool:
    return value is None or (is_name(value) and not value.startswith(HARVESTER))


def _are_releases(value: Any) -> bool:
    return value is None or (value.__class__ is list and len(value) <= _MOST_RELEASES and all(map(is_name, value)))


def _is_request(value: Any) -> bool:
    return value is None or (value.__class__ is str and str(UUID(value)) == value)


_MAYBE_COUNTS = ("memory", "disk_space", "cores", "remaining_time", "worker_id")
_COUNTS = frozenset(("n_jobs", "wait_time", *_MAYBE_COUNTS))
_ASK: Table = {
    "site_name": is_name,
    **dict.fromkeys(("node", "prod_source_label", "computing_element", "batch_id", "resource_type"), _may_be_name),
    **dict.fromkeys(("vo", "working_group", "prod_user_id", "harvester_id"), _may_be_name),
    **dict.fromkeys((*_MAYBE_COUNTS, "task_id"), _is_nothing),
    "scheduler_id": _is_factory,
    "cpu": _is_speed,
    "releases": _are_releases,
    "request_id": _is_request,
}


def ask_of(raw: Mapping[str, Any]) -> tuple[PilotAsk, int] | None:
    """What a pilot asks for, and how long (s) it waits for a job; None if it is a rare request.

    Raises pydantic's ValidationError for what the model does not take.
    """
    plain = _plain(raw)
    if plain is not None:
        return plain
    wanted = AcquireJobs.model_validate(raw)
    return None if wanted.is_rare else (wanted.ask(), wanted.wait_time)


def _plain(raw: Mapping[str, Any]) -> tuple[PilotAsk, int] | None:
    """The same of a request in plain words, None if the model has to look at it."""
    try:
        if not is_plain(raw, _COUNTS, _ASK):
            return None
        get = raw.get
        n_jobs, wait_s, cpu, releases, request_id = (
            get("n_jobs", 1), get("wait_time", 0), get("cpu"), get("releases"), get("request_id"),
        )  # fmt: skip
        if not 0 < n_jobs <= MAX_JOBS or wait_s > _MOST_WAIT_S:
            return None
        return PilotAsk(
            raw["site_name"],
            get("node") or "",
            get("prod_source_label") or "",
            n_jobs,
            get("memory") or None,
            get("disk_space") or None,
            float(cpu) if cpu else None,
            get("cores") or None,
            get("remaining_time") or None,
            get("vo"),
            get("prod_user_id"),
            get("working_group"),
            None if releases is None else frozenset(releases),
            get("harvester_id") or get("scheduler_id"),
            get("worker_id"),
            get("batch_id"),
            None if request_id is None else UUID(request_id),
            get("resource_type"),
        ), wait_s
    except (KeyError, TypeError, ValueError):
        return None
