"""From values of the domain to the dictionaries of the wire: jobs for pilots, answers to updates, demand of queues."""

import hashlib
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC
from typing import NamedTuple, TypeAlias

import orjson

from panda.domain.dispatch import HandedInput, HandedJob, HandedOutput, QueueDemand, UpdateAnswer
from panda.domain.resource_types import ResourceType, resource_type_of
from panda.domain.views.harvester import Command

WireValue: TypeAlias = str | int | float | bool | None
WireJob: TypeAlias = dict[str, WireValue]

STATUS_OK = 0
STATUS_NO_JOBS = 20
STATUS_INVALID = 50
NO_JOBS = "No jobs in PanDA"
"""The very words by which Harvester tells an empty answer from an error (wire-protocol.md 8)."""
ANALYSIS_LABELS = frozenset({"user", "panda"})
_LOG_NAMESPACE = hashlib.sha1(uuid.uuid5(uuid.NAMESPACE_URL, "panda:log").bytes, usedforsecurity=False)


def wire_job(job: HandedJob, source_url: str = "") -> WireJob:
    """A job as pilots read it (wire-protocol.md 5): lists are comma-joined and parallel, "NULL" or "" is none.

    `lease` and `heartbeat` (s) are ours: the first comes back in every update.
    """
    return {
        **_identity(job),
        **_work(job),
        **_inputs(job.inputs),
        **_outputs(job.outputs, job.site),
        "sourceURL": source_url,
        "lease": job.lease,
        "heartbeat": job.heartbeat_s,
        **({"secrets": job.secrets} if job.secrets else {}),
    }


# Where a job's own values stand in a form: what JSON of its task could not hold by itself.
_OWN: tuple[str, ...] = (
    "PandaID", "jobName", "attemptNr", "currentPriority", "jobPars", "firstEvent", "nEvents", "outFiles",
    "allowNoOutput", "logFile", "logGUID", "lease",
)  # fmt: skip
_MARK = "\x01{}\x01"


class _Form(NamedTuple):
    """The JSON of a task's jobs, cut where a job's own values stand.

    Its outputs by their places: all but the log, those that may be missing, the log.
    """

    pieces: tuple[bytes, ...]
    name: str
    others: tuple[int, ...]
    optional: tuple[int, ...]
    log: int | None


_FORMS: dict[object, _Form] = {}
_FORMS_KEPT = 5000


def job_json(job: HandedJob, source_url: str = "") -> bytes:
    """The JSON of `wire_job`. For a job without inputs it is cut once for its task and queue, then only filled in.

    Secrets are never kept in such a form.
    """
    if job.inputs or job.secrets or job.common is None:
        return orjson.dumps(wire_job(job, source_url))
    key = (job.common, source_url)
    form = _FORMS.get(key)
    if form is None:
        if len(_FORMS) >= _FORMS_KEPT:
            _FORMS.clear()
        form = _FORMS[key] = _form(job, source_url)
    dumps = orjson.dumps
    pieces, outputs = form.pieces, job.outputs
    every = [outputs[one].lfn for one in form.others]
    log = guid = b'"NULL"'
    if form.log is not None:
        last = outputs[form.log]
        every.append(last.lfn)
        log, guid = dumps(last.lfn), b'"%b"' % _log_guid(last.scope, last.lfn).encode()
    return b"".join(
        (
            pieces[0], b"%d" % job.job_id,
            pieces[1], dumps(numbered(form.name, job.ordinal)),
            pieces[2], b"%d" % job.attempt,
            pieces[3], b"%d" % job.priority,
            pieces[4], dumps(job.parameters),
            pieces[5], b"%d" % job.first_event,
            pieces[6], b"%d" % job.n_events,
            pieces[7], dumps(",".join(every)),
            pieces[8], dumps(",".join([outputs[one].lfn for one in form.optional])),
            pieces[9], log,
            pieces[10], guid,
            pieces[11], b"%d" % job.lease,
            pieces[12],
        )
    )  # fmt: skip


def _form(job: HandedJob, source_url: str) -> _Form:
    marked = wire_job(job, source_url) | {name: _MARK.format(name) for name in _OWN}
    left = orjson.dumps(marked)
    pieces = []
    for name in _OWN:
        piece, _, left = left.partition(orjson.dumps(_MARK.format(name)))
        pieces.append(piece)
    places = list(enumerate(job.outputs))
    return _Form(
        (*pieces, left),
        job.task_name.rstrip("/"),
        tuple(place for place, one in places if one.kind != "log"),
        tuple(place for place, one in places if one.optional),
        next((place for place, one in places if one.kind == "log"), None),
    )


def numbered(name: str, ordinal: int) -> str:
    """The name of a job: its task's, without a slash at its end, and its place there, from 1."""
    return f"{name}._{ordinal + 1:06d}"


def _log_guid(scope: str, lfn: str) -> str:
    """The UUID of version 5 that a log's name gives; `uuid.uuid5` takes three times as long for the same."""
    begun = _LOG_NAMESPACE.copy()
    begun.update(f"{scope}:{lfn}".encode())
    digest = begun.hexdigest()
    variant = "89ab"[int(digest[16], 16) & 3]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"


def _identity(job: HandedJob) -> WireJob:
    return {
        "StatusCode": STATUS_OK,
        "PandaID": job.job_id,
        "taskID": job.task_id,
        "jobsetID": "NULL",
        "jobDefinitionID": job.task_id,
        "reqID": job.task_id,
        "jobName": numbered(job.task_name.rstrip("/"), job.ordinal),
        "attemptNr": job.attempt,
        "prodSourceLabel": job.label,
        "prodUserID": job.owner,
        "workingGroup": job.working_group or "NULL",
        "processingType": job.processing_type,
        "VO": job.vo,
        "cloud": job.cloud or "NULL",
        "computingSite": job.queue,
        "currentPriority": job.priority,
        "nSent": 1,
    }


def _work(job: HandedJob) -> WireJob:
    analysis = job.label in ANALYSIS_LABELS
    return {
        "transformation": job.transformation,
        "jobPars": job.parameters,
        "homepackage": job.release or "NULL",
        "swRelease": job.release or "NULL",
        "cmtConfig": job.architecture or "NULL",
        "container_name": job.container or "NULL",
        "coreCount": job.cores,
        "minRamCount": job.memory_mb,
        "minRamUnit": "MB",
        "maxWalltime": job.max_wall_s,
        "maxCpuCount": job.max_cpu_s,
        "maxDiskCount": job.disk_mb,
        "maxDiskUnit": "MB",
        "resource_type": resource_type_of(job.cores, job.memory_mb),
        "transferType": "NULL",
        "jobType": "analysis" if analysis else "production",
        "firstEvent": job.first_event,
        "nEvents": job.n_events,
        "debug": "False",
    }


def _joined(values: Iterable[object]) -> str:
    return ",".join(["NULL" if value in (None, "") else str(value) for value in values])


def _inputs(files: Sequence[HandedInput]) -> WireJob:
    return {
        "inFiles": _joined(one.lfn for one in files),
        "realDatasetsIn": _joined(one.dataset for one in files),
        "scopeIn": _joined(one.scope for one in files),
        "GUID": _joined(one.guid for one in files),
        "fsize": _joined(one.bytes for one in files),
        "checksum": _joined(f"ad:{one.adler32}" for one in files),
        "ddmEndPointIn": _joined(one.rse for one in files),
        "prodDBlocks": _joined(one.dataset for one in files),
        "prodDBlockToken": _joined(None for _ in files),
        "dispatchDblock": _joined(None for _ in files),
        "dispatchDBlockToken": _joined(None for _ in files),
    }


def _outputs(files: Sequence[HandedOutput], site: str) -> WireJob:
    """The log is one of `outFiles`, its scope alone stands apart: pilots lose a job whose lists do not fit."""
    log = next((one for one in files if one.kind == "log"), None)
    others = [one for one in files if one.kind != "log"]
    every = [*others, log] if log else others
    return {
        "outFiles": _joined(one.lfn for one in every),
        "realDatasets": _joined(one.dataset for one in every),
        "destinationDblock": _joined(one.dataset for one in every),
        "ddmEndPointOut": _joined(one.rse for one in every),
        "fileDestinationSE": _joined(site for _ in every),
        "destinationDBlockToken": _joined(None for _ in every),
        "dispatchDBlockTokenForOut": _joined(None for _ in every),
        "destinationSE": site,
        "scopeOut": _joined(one.scope for one in others),
        "allowNoOutput": _joined(one.lfn for one in every if one.optional),
        "logFile": log.lfn if log else "NULL",
        "scopeLog": log.scope if log else "NULL",
        "logGUID": _log_guid(log.scope, log.lfn) if log else "NULL",
    }


def no_jobs(retry_after_s: float) -> dict[str, object]:
    """The data of an answer without jobs: Harvester reads the words, our own pilot when (s) to ask again."""
    return {"StatusCode": STATUS_NO_JOBS, "errorDialog": NO_JOBS, "jobs": [], "retry_after": retry_after_s}


def wire_update(answer: UpdateAnswer) -> dict[str, WireValue]:
    """The data of the answer to an update; one that changed nothing (late, twice, old attempt) is answered as usual.

    A job that never existed is refused, with the command that ends its payload.
    """
    if not answer.known:
        return {"StatusCode": STATUS_INVALID, "command": answer.command or "tobekilled"}
    return {"StatusCode": STATUS_OK, "command": answer.command}


def wire_resource_type(kind: ResourceType) -> dict[str, object]:
    """A resource type as Harvester and pilot3 read it; memory is MB per core (wire-protocol.md 4.1)."""
    return {
        "resource_name": kind.name,
        "mincore": kind.min_cores,
        "maxcore": kind.max_cores,
        "minrampercore": kind.min_memory_mb,
        "maxrampercore": kind.max_memory_mb,
    }


def wire_command(command: Command) -> dict[str, object]:
    """A command as Harvester reads it (wire-protocol.md 8, get_commands)."""
    return {
        "command_id": command.id,
        "command": command.command,
        "params": command.arguments,
        "ack_requested": int(command.ack_requested),
        "creation_date": command.created_at.astimezone(UTC).replace(tzinfo=None).isoformat(),
    }


def wire_demand(demand: QueueDemand) -> dict[str, WireValue]:
    """What a factory needs to know of a queue; pilots of all kinds of work are asked for at once (label `unified`)."""
    return {**asdict(demand), "label": "unified"}
