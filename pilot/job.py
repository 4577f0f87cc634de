"""The job as the pilot understands it: read once from the wire's dictionary, or refused with a reason."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pilot.errors import ErrorCode, JobError
from pilot.names import checked_name, is_given


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file to be brought into the work folder; `size` (bytes) and `checksum` ("ad:..", "md5:..") if known."""

    lfn: str
    scope: str
    endpoint: str
    guid: str
    size: int | None
    checksum: str


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file the job must leave behind; an optional one may be missing."""

    lfn: str
    scope: str
    endpoint: str
    guid: str
    is_optional: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt of one job. Limits of 0 mean none; times in s, sizes in MB; `secrets` are its owner's, JSON text."""

    panda_id: int
    task_id: str
    attempt: int
    lease: int | None
    name: str
    transformation: str
    source_url: str
    parameters: str
    release: str
    container: str
    cores: int
    memory_mb: int
    max_wall_s: int
    max_disk_mb: int
    heartbeat_s: float | None
    inputs: tuple[InputFile, ...]
    outputs: tuple[OutputFile, ...]
    log: OutputFile | None
    secrets: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class JobReference:
    """What every update must name: job, attempt, lease. Readable even when the rest of the job is not."""

    panda_id: int
    attempt: int
    lease: int | None
    cores: int = 1

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> "JobReference":
        """Raises ValueError when not even this can be read."""
        lease = raw.get("lease")
        try:
            return cls(
                int(raw["PandaID"]),
                _number(raw, "attemptNr") or 0,
                int(str(lease)) if is_given(lease) else None,
                max(1, _number(raw, "coreCount")),
            )
        except (KeyError, TypeError, JobError) as error:
            raise ValueError(f"no PandaID or attempt in the job: {error}") from error


def parse_job(raw: Mapping[str, Any]) -> Job:
    """Read the wire's dictionary (wire-protocol.md section 5); JobError 1110 names the first thing that is wrong."""
    try:
        reference = JobReference.parse(raw)
    except ValueError as error:
        raise JobError(ErrorCode.SETUP_FAILED, str(error)) from error
    log_name = _text(raw, "logFile")
    heartbeat = raw.get("heartbeat")
    all_outputs = _outputs(raw, log_name)
    return Job(
        panda_id=reference.panda_id,
        task_id=_text(raw, "taskID"),
        attempt=reference.attempt,
        lease=reference.lease,
        name=_text(raw, "jobName"),
        transformation=_transformation(raw),
        source_url=_text(raw, "sourceURL"),
        parameters=_text(raw, "jobPars"),
        release=_release(raw),
        container=_text(raw, "container_name"),
        cores=reference.cores,
        memory_mb=_number(raw, "minRamCount"),
        max_wall_s=_number(raw, "maxWalltime"),
        max_disk_mb=_number(raw, "maxDiskCount"),
        heartbeat_s=float(heartbeat) if isinstance(heartbeat, int | float) and heartbeat > 0 else None,
        inputs=_inputs(raw),
        outputs=tuple(file for file in all_outputs if file.lfn != log_name),
        log=next((file for file in all_outputs if file.lfn == log_name), None),
        secrets=_text(raw, "secrets"),
    )


def _transformation(raw: Mapping[str, Any]) -> str:
    """The name of a program, or an address (which `pilot.transform` judges)."""
    name = _text(raw, "transformation")
    return name if "://" in name else checked_name("transformation", name)


def _release(raw: Mapping[str, Any]) -> str:
    """The release's name; empty if the job needs none."""
    name = _text(raw, "swRelease") or _text(raw, "homepackage")
    return checked_name("release", name) if name else ""


def _inputs(raw: Mapping[str, Any]) -> tuple[InputFile, ...]:
    names = _texts(raw, "inFiles")
    columns = [_column(raw, key, len(names)) for key in ("scopeIn", "ddmEndPointIn", "GUID", "fsize", "checksum")]
    seen: set[str] = set()
    files = []
    for lfn, scope, endpoint, guid, size, checksum in zip(names, *columns, strict=True):
        if lfn in seen:
            continue
        seen.add(lfn)
        checked_name("input file", lfn)
        checked_name("scope", scope)
        files.append(InputFile(lfn, scope, endpoint, guid, _size(lfn, size), checksum))
    return tuple(files)


def _outputs(raw: Mapping[str, Any], log_name: str) -> tuple[OutputFile, ...]:
    """All outputs, the log among them. `scopeOut` goes without the log, the other lists with it."""
    names = _texts(raw, "outFiles")
    if len(set(names)) != len(names):
        raise JobError(ErrorCode.SETUP_FAILED, "an output file is named twice")
    endpoints = _column(raw, "ddmEndPointOut", len(names))
    optional = set(_texts(raw, "allowNoOutput"))
    scopes = _texts(raw, "scopeOut")
    if log_name in names and len(scopes) == len(names) - 1:
        scopes.insert(names.index(log_name), _text(raw, "scopeLog"))
    if len(scopes) != len(names):
        message = f"scopeOut has {len(scopes)} entries for {len(names)} outputs (the log among them)"
        raise JobError(ErrorCode.SETUP_FAILED, message)
    files = []
    for lfn, scope, endpoint in zip(names, scopes, endpoints, strict=True):
        checked_name("output file", lfn)
        checked_name("scope", scope)
        guid = _text(raw, "logGUID") if lfn == log_name else ""
        files.append(OutputFile(lfn, scope, endpoint, guid, lfn in optional))
    return tuple(files)


def _text(raw: Mapping[str, Any], key: str) -> str:
    value = raw.get(key)
    return str(value) if is_given(value) else ""


def _texts(raw: Mapping[str, Any], key: str) -> list[str]:
    value = raw.get(key)
    if isinstance(value, list):
        return [str(item) for item in value]
    return str(value).split(",") if is_given(value) else []


def _column(raw: Mapping[str, Any], key: str, length: int) -> list[str]:
    """A list parallel to the file names; one that is not given at all is a list of unknowns."""
    values = _texts(raw, key) or [""] * length
    if len(values) != length:
        raise JobError(ErrorCode.SETUP_FAILED, f"{key} has {len(values)} entries for {length} files")
    return [value if is_given(value) else "" for value in values]


def _number(raw: Mapping[str, Any], key: str) -> int:
    value = raw.get(key)
    if not is_given(value):
        return 0
    try:
        return max(0, int(float(str(value))))
    except (ValueError, OverflowError) as error:
        raise JobError(ErrorCode.SETUP_FAILED, f"{key} is {value!r:.40}, not a number") from error


def _size(lfn: str, text: str) -> int | None:
    if not text:
        return None
    if not text.isdigit():
        raise JobError(ErrorCode.SETUP_FAILED, f"the size of {lfn} is {text!r:.40}, not a number of bytes")
    return int(text)
