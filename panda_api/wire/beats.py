"""Signs of life in plain words: most of what pilots say, understood without the request's model.

Theory. `UpdateJob` says what an update may be; it looks at each field with care, which costs more than all the rest
that a sign of life needs. What is here takes only what the model would take in the very same way, and leaves everything
else to it (a test feeds both the same updates).
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from panda.domain.dispatch import JobUpdate
from panda.domain.states import JobStatus
from panda_api.wire.pilot import UpdateJob

_BEATS = {one.value: one for one in (JobStatus.STARTING, JobStatus.RUNNING)}
_NOTHING = frozenset({"", "None", "NULL", "null"})
_NAME_LENGTH = 255
_TIME_LENGTH = len("YYYY-mm-dd HH:MM:SS")
_MOST = 2**31 - 1


@lru_cache(maxsize=65_536)
def _is_name(value: Any) -> bool:
    if value.__class__ is not str or not value.isprintable():
        return False
    return 0 < len(value) <= _NAME_LENGTH and value.strip() not in _NOTHING


def _is_zero(value: Any) -> bool:
    return value.__class__ is int and not value


def _is_blank(value: Any) -> bool:
    return value.__class__ is str and not value


_COUNTS = frozenset(
    ("job_id", "attempt_nr", "lease", "core_count", "cpu_consumption_time", "max_rss", "n_events")
)  # fmt: skip
# What else a sign of life may hold to be understood here.
_PLAIN: Mapping[str, Callable[[Any], bool]] = {
    "job_status": _BEATS.__contains__,
    **dict.fromkeys(("site_name", "node", "batch_id", "scheduler_id", "pilot_id"), _is_name),
    **dict.fromkeys(("pilot_error_code", "trans_exit_code", "exe_error_code"), _is_zero),
    **dict.fromkeys(("pilot_error_diag", "exe_error_diag"), _is_blank),
    "start_time": lambda value: value.__class__ is str and len(value) == _TIME_LENGTH,
}  # fmt: skip


def update_of(raw: Mapping[str, Any]) -> JobUpdate:
    """The update that these words mean. Raises pydantic's ValidationError for what the model does not take."""
    return beat_of(raw) or UpdateJob.model_validate(raw).update()


def beat_of(raw: Mapping[str, Any]) -> JobUpdate | None:
    """The sign of life that this is, None if the model has to look at it."""
    try:
        for name, value in raw.items():
            if value.__class__ is int and name in _COUNTS:
                if not 0 <= value <= _MOST:
                    return None
            elif not _PLAIN[name](value):
                return None
        begun = raw.get("start_time")
        started_at = None if begun is None else datetime.fromisoformat(begun).replace(tzinfo=UTC)
        job_id, status = raw["job_id"], _BEATS[raw["job_status"]]
    except (KeyError, TypeError, ValueError):
        return None
    if not job_id:
        return None
    get, cpu_s = raw.get, raw.get("cpu_consumption_time")
    return JobUpdate(
        job_id,
        status,
        get("attempt_nr"),
        get("lease"),
        get("node"),
        get("batch_id"),
        n_events=get("n_events"),
        cpu_s=None if cpu_s is None else float(cpu_s),
        max_rss_kb=get("max_rss"),
        started_at=started_at,
    )
