"""Legacy bodies (`/server/panda/<method>`): how they are read, and their names in today's words.

A body is a form or a JSON object (wire-protocol.md 2); the guard of bodies has unpacked gzip already. What the fields
may hold (4, 6) is the business of the models of today's calls: this module renames; wrong fields keep their old names.
"""

import json
import math
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import parse_qsl

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from panda.domain.dispatch import JobUpdate, PilotAsk, WorkerReport
from panda.errors import BadRequest
from panda_api.body import DEPTH_LIMIT, depth_exceeds, parsed
from panda_api.wire.fields import WireModel, json_list
from panda_api.wire.job import JobId
from panda_api.wire.pilot import AcquireJobs, UpdateJob, UpdateWorkerStatus

Told = Mapping[str, object]
Model = TypeVar("Model", bound=BaseModel)

MAX_FIELDS = 1000
MAX_LISTED = 10_000

ASK = {
    "siteName": "site_name", "prodSourceLabel": "prod_source_label", "node": "node", "mem": "memory",
    "computingElement": "computing_element", "diskSpace": "disk_space", "cpu": "cpu", "workingGroup": "working_group",
    "prodUserID": "prod_user_id", "harvester_id": "harvester_id", "worker_id": "worker_id",
    "schedulerID": "scheduler_id", "batchID": "batch_id", "resourceType": "resource_type",
    "nJobs": "n_jobs", "taskID": "task_id",
}  # fmt: skip
UPDATE = {
    "jobId": "job_id", "state": "job_status", "attemptNr": "attempt_nr", "siteName": "site_name", "node": "node",
    "schedulerID": "scheduler_id", "pilotID": "pilot_id", "batchID": "batch_id", "startTime": "start_time",
    "endTime": "end_time", "coreCount": "core_count", "cpuConsumptionTime": "cpu_consumption_time", "maxRSS": "max_rss",
    "pilotTiming": "pilot_timing", "nEvents": "n_events", "xml": "job_output_report",
    "pilotErrorCode": "pilot_error_code", "pilotErrorDiag": "pilot_error_diag", "transExitCode": "trans_exit_code",
    "exeErrorCode": "exe_error_code", "exeErrorDiag": "exe_error_diag", "pilotLog": "pilot_log", "stdout": "stdout",
}  # fmt: skip
WORKER = {
    "workerID": "worker_id", "harvesterID": "harvester_id", "status": "status", "site": "site", "node_id": "node_id",
}  # fmt: skip


class DebugMode(WireModel):
    """Debug mode of a job, on or off."""

    job_id: JobId
    mode_on: bool


DEBUG = {"pandaID": "job_id", "modeOn": "mode_on"}


def fields_of(body: bytes) -> dict[str, object]:
    """The fields of a body. Raises BadRequest for what is neither a JSON object nor a form."""
    if body.lstrip()[:1] in {b"{", b"["}:
        return _json_object(body)
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise BadRequest(f"the body cannot be read as a form: {error}", hint="send name=value&.. or JSON") from None
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise BadRequest(f"the form gives {name[:80]!r} twice", hint="give each field once")
        found[name] = value
    return found


def _json_object(body: bytes) -> dict[str, object]:
    try:
        value = parsed(body)
    except ValueError:
        raise BadRequest("the body begins like JSON but is not", hint="send one JSON object") from None
    if not isinstance(value, dict) or depth_exceeds(value, DEPTH_LIMIT):
        raise BadRequest("the body is not one JSON object of moderate depth", hint="send {name: value, ..}")
    return value


def read(model: type[Model], names: Mapping[str, str], told: Told) -> Model:
    """A request in today's words; RequestValidationError names wrong fields as the caller did."""
    try:
        return model.model_validate({new: told[old] for old, new in names.items() if old in told})
    except ValidationError as error:
        old_names = {new: old for old, new in names.items()}
        details = []
        for one in error.errors():
            first, *others = one["loc"] or ("body",)
            details.append({**one, "loc": ("body", old_names.get(str(first), str(first)), *others)})
        raise RequestValidationError(details) from None


def ask_of(told: Told) -> PilotAsk:
    """A pilot's request for one job; memory and disk (MB) may be fractions."""
    whole = {name: _whole(told[name]) for name in ("mem", "diskSpace") if name in told}
    return read(AcquireJobs, ASK, {**told, **whole}).ask()


def _whole(value: object) -> object:
    try:
        number = float(value)  # type: ignore[arg-type]  # what is no number is refused by the model
    except (TypeError, ValueError):
        return value
    return int(number) if math.isfinite(number) else value


def update_of(told: Told) -> JobUpdate:
    """A pilot's word on its job; numbers of events come from the payload's own report where the pilot gives none."""
    report = _payload_report(told.get("metaData"))
    changed = dict(told)
    if report.get("nEvents") is not None and changed.get("nEvents") in (None, "", "None"):
        changed["nEvents"] = report["nEvents"]
    changed["xml"] = _with_events(changed.get("xml"), report.get("outputs"))
    return read(UpdateJob, UPDATE, changed).update()


def listed(told: Told, name: str) -> list[object]:
    """A field that is a list, or the JSON text of one. Raises BadRequest that names it."""
    try:
        value = json_list(told.get(name))
    except ValueError:
        value = None
    if not isinstance(value, list) or len(value) > MAX_LISTED or depth_exceeds(value, DEPTH_LIMIT):
        raise BadRequest(f"{name} is no list of at most {MAX_LISTED}", hint=f"{name}=[..], as JSON text")
    return value


def _payload_report(text: object) -> dict[str, object]:
    """The payload's jobReport.json, which stock pilots pass on unread; nothing if it is not what we know."""
    return _object(text) or {}


def _with_events(xml: object, outputs: object) -> object:
    """The output report with the events per file that the payload told."""
    files = _object(xml)
    if not files or not isinstance(outputs, dict):
        return None if xml in ("None", "NULL") else xml
    for lfn, entry in files.items():
        said = outputs.get(lfn)
        events = said.get("events") if isinstance(said, dict) else None
        if isinstance(entry, dict) and isinstance(events, int) and not isinstance(events, bool) and events >= 0:
            entry.setdefault("events", events)
    return files


def _object(text: object) -> dict[str, object] | None:
    if not isinstance(text, str) or not text.startswith("{"):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def worker_of(told: Told) -> WorkerReport:
    """A pilot's word on its own life."""
    return read(UpdateWorkerStatus, WORKER, told).report()


def debug_of(told: Told) -> DebugMode:
    """The wish to switch a job's debug mode."""
    return read(DebugMode, DEBUG, told)


def listed_ids(told: Told) -> list[int | None]:
    """The job ids of `getStatus`, comma-joined; None for what is no id. Raises BadRequest for none or too many."""
    words = str(told.get("ids") or "").split(",")
    if words == [""] or len(words) > MAX_FIELDS:
        raise BadRequest(f"ids: 1 to {MAX_FIELDS} job ids are needed", hint="ids=4711,4712")
    return [int(one) if one.strip().isdigit() and len(one) < 19 else None for one in words]  # noqa: PLR2004 - 2^63
