"""The bodies of the pilot's updates: pure functions of what is known, in the wire's words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pilot.client import JsonObject
from pilot.job import JobReference

_MAX_DIAGNOSIS = 500
_MAX_PILOT_LOG = 1024


@dataclass(frozen=True, slots=True)
class Reporter:
    """Who reports: the parts that are the same in all updates of a pilot."""

    queue: str
    node: str
    batch_id: str
    scheduler_id: str
    pilot_id: str


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds spent in each phase of a job, as `pilot_timing` lists them."""

    getjob: float = 0.0
    stagein: float = 0.0
    payload: float = 0.0
    stageout: float = 0.0
    initial_setup: float = 0.0
    setup: float = 0.0

    def wire(self) -> str:
        """getjob|stagein|payload|stageout|initial setup|setup in whole seconds, rounded."""
        phases = (self.getjob, self.stagein, self.payload, self.stageout, self.initial_setup, self.setup)
        return "|".join(str(round(seconds)) for seconds in phases)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that is on a storage and may be registered."""

    lfn: str
    guid: str
    size: int
    adler32: str
    surl: str
    endpoint: str
    events: int | None = None

    def wire(self) -> JsonObject:
        """The entry in `job_output_report`."""
        entry: JsonObject = {
            "guid": self.guid,
            "fsize": self.size,
            "adler32": self.adler32,
            "surl": self.surl,
            "endpoint": self.endpoint,
        }
        if self.events is not None:
            entry["events"] = self.events
        return entry


@dataclass(frozen=True, slots=True)
class Measured:
    """What the payload used."""

    cpu_s: float = 0.0
    max_rss_kb: int = 0
    cores: int = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended, as far as it is known before its files are stored. A pilot code of 0 is success."""

    code: int = 0
    diagnosis: str = ""
    exit_code: int = 0
    exe_code: int = 0
    exe_diagnosis: str = ""
    n_events: int | None = None
    output_events: Mapping[str, int] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """The final state to report."""
        return "failed" if self.code else "finished"


def update(reference: JobReference, reporter: Reporter, status: str, started: datetime) -> JsonObject:
    """What every update holds."""
    body: JsonObject = {
        "job_id": reference.panda_id,
        "job_status": status,
        "attempt_nr": reference.attempt,
        "site_name": reporter.queue,
        "node": reporter.node,
        "batch_id": reporter.batch_id,
        "scheduler_id": reporter.scheduler_id,
        "pilot_id": reporter.pilot_id,
        "start_time": wire_time(started),
        "core_count": reference.cores,
    }
    if reference.lease is not None:
        body["lease"] = reference.lease
    return body


def progress(body: JsonObject, measured: Measured, stdout: str = "") -> JsonObject:
    """An update of a job that goes on."""
    more = {"cpu_consumption_time": round(measured.cpu_s), "max_rss": measured.max_rss_kb}
    return body | more | ({"stdout": stdout} if stdout else {})


def final(
    body: JsonObject, outcome: Outcome, measured: Measured, timing: Timing, ended: datetime, pilot_log: str
) -> JsonObject:
    """The last update of a job, without its files."""
    last = progress(body, measured) | {
        "job_status": outcome.status,
        "end_time": wire_time(ended),
        "pilot_timing": timing.wire(),
        "pilot_error_code": outcome.code,
        "pilot_error_diag": outcome.diagnosis[:_MAX_DIAGNOSIS],
        "trans_exit_code": outcome.exit_code,
        "exe_error_code": outcome.exe_code,
        "exe_error_diag": outcome.exe_diagnosis[:_MAX_DIAGNOSIS],
    }
    if outcome.n_events is not None:
        last["n_events"] = outcome.n_events
    if outcome.code:
        last["pilot_log"] = pilot_log[-_MAX_PILOT_LOG:]
    return last


def output_report(files: Sequence[StoredFile]) -> dict[str, Any]:
    """The content of `job_output_report`, by file name."""
    return {file.lfn: file.wire() for file in files}


def wire_time(moment: datetime) -> str:
    """YYYY-mm-dd HH:MM:SS in UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
