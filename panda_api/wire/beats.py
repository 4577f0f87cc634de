"""Reports in plain words: most of what pilots say, understood without the request's model.

Theory. `UpdateJob` says what an update may be; it looks at each field with care, which costs more than all the rest
that a sign of life needs. What is here takes only what the model would take in the very same way (signs of life, and
final reports of jobs that finished), and leaves everything else to it (a test feeds both the same updates).
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from panda.domain.dispatch import JobUpdate, OutputReport
from panda.domain.names import check_name
from panda.domain.states import JobStatus
from panda.errors import Refused
from panda_api.wire.pilot import UpdateJob, with_hash
from panda_api.wire.plain import Table, is_name, is_plain

_BEATS = {one.value: one for one in (JobStatus.STARTING, JobStatus.RUNNING)}
_FINISHED = JobStatus.FINISHED.value
_TIME_LENGTH = len("YYYY-mm-dd HH:MM:SS")
_MOST_BYTES = 2**63 - 1
_MOST_FILES = 1000
_DIGITS = "0123456789abcdef"
_ADLER_DIGITS = 8


def _is_zero(value: Any) -> bool:
    return value.__class__ is int and not value


def _is_text(value: Any) -> bool:
    return value.__class__ is str


def _is_blank(value: Any) -> bool:
    return value.__class__ is str and not value


def _is_time(value: Any) -> bool:
    return value.__class__ is str and len(value) == _TIME_LENGTH


def _is_size(value: Any) -> bool:
    return value.__class__ is int and bool(0 <= value <= _MOST_BYTES)


def _is_adler32(value: Any) -> bool:
    return value.__class__ is str and len(value) == _ADLER_DIGITS and not value.strip(_DIGITS)


_NO_COUNTS: frozenset[str] = frozenset()
_COUNTS = frozenset(("job_id", "attempt_nr", "lease", "core_count", "cpu_consumption_time", "max_rss", "n_events"))
# What else a sign of life, or a report that a job finished, may hold to be understood here.
_BEAT: Table = {
    "job_status": _BEATS.__contains__,
    **dict.fromkeys(("site_name", "node", "batch_id", "scheduler_id", "pilot_id"), is_name),
    **dict.fromkeys(("pilot_error_code", "trans_exit_code", "exe_error_code"), _is_zero),
    **dict.fromkeys(("pilot_error_diag", "exe_error_diag"), _is_blank),
    "start_time": _is_time,
}
_FINAL: Table = {
    **_BEAT,
    "job_status": _is_text,
    "end_time": _is_time,
    "job_output_report": _is_text,
}
_FILE: Table = {
    "guid": is_name,
    "endpoint": is_name,
    "fsize": _is_size,
    "adler32": _is_adler32,
}


def update_of(raw: Mapping[str, Any]) -> JobUpdate:
    """The update that these words mean. Raises pydantic's ValidationError for what the model does not take."""
    plain = _final_of(raw) if raw.get("job_status") == _FINISHED else beat_of(raw)
    return plain or UpdateJob.model_validate(raw).update()


def beat_of(raw: Mapping[str, Any]) -> JobUpdate | None:
    """The sign of life that this is, None if the model has to look at it."""
    try:
        return _beat(raw, _BEATS[raw["job_status"]]) if is_plain(raw, _COUNTS, _BEAT) else None
    except (KeyError, TypeError, ValueError):
        return None


def _final_of(raw: Mapping[str, Any]) -> JobUpdate | None:
    """The report that a job finished, None if the model has to look at it."""
    try:
        if not is_plain(raw, _COUNTS, _FINAL):
            return None
        told, end = raw.get("job_output_report"), raw.get("end_time")
        news = _beat(raw, JobStatus.FINISHED, _outputs(told) if told else None, None if end is None else _time(end))
        return None if news is None else with_hash(news)
    except (KeyError, TypeError, ValueError, Refused):
        return None


def _beat(
    raw: Mapping[str, Any],
    status: JobStatus,
    outputs: tuple[OutputReport, ...] | None = None,
    ended_at: datetime | None = None,
) -> JobUpdate | None:
    begun, wall_s = raw.get("start_time"), None
    started_at = None if begun is None else _time(begun)
    if not raw["job_id"]:
        return None
    if started_at and ended_at:
        wall_s = max(0.0, (ended_at - started_at).total_seconds())
    get, cpu_s = raw.get, raw.get("cpu_consumption_time")
    return JobUpdate(
        raw["job_id"],
        status,
        get("attempt_nr"),
        get("lease"),
        get("node"),
        get("batch_id"),
        outputs,
        n_events=get("n_events"),
        cpu_s=None if cpu_s is None else float(cpu_s),
        max_rss_kb=get("max_rss"),
        started_at=started_at,
        ended_at=ended_at,
        wall_s=wall_s,
    )


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is not None:
        raise ValueError("not plain: it has a time zone")
    return time.replace(tzinfo=UTC)


def _outputs(text: str) -> tuple[OutputReport, ...]:
    """The outputs of a report; raises KeyError, TypeError, ValueError or Refused for what is not plain."""
    files = orjson.loads(text)
    if files.__class__ is not dict or len(files) > _MOST_FILES:
        raise ValueError("not plain: no object of files")
    found = []
    for lfn, one in files.items():
        if one.__class__ is not dict or not is_plain(one, _NO_COUNTS, _FILE):
            raise ValueError("not plain: what is said of a file")
        found.append(
            OutputReport(check_name("LFN", lfn), one.get("guid"), one["fsize"], one["adler32"], one.get("endpoint"))
        )
    return tuple(found)
