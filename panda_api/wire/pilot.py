"""What pilots send: the request for jobs, the updates of a job, a worker's life (wire-protocol.md 4 to 6)."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal
from uuid import UUID

import orjson
from pydantic import AliasChoices, BeforeValidator, Field, field_validator

from panda.domain.dispatch import ErrorPair, JobUpdate, OutputReport, PilotAsk, WorkerReport
from panda.domain.names import check_name
from panda.domain.states import JobStatus
from panda.errors import Refused
from panda_api.wire.fields import (
    Code,
    Diagnosis,
    Known,
    MaybeCount,
    MaybeName,
    MaybeNumber,
    MaybeSeconds,
    MaybeTime,
    Name,
    Number,
    PlainText,
    Tail,
    WireModel,
)

MAX_JOBS = 1000
HARVESTER = "harvester-"
_ADLER32 = re.compile(r"[0-9a-fA-F]{1,8}")

Releases = Annotated[frozenset[Name], Field(max_length=10_000)]


class AcquireJobs(WireModel):
    """A pilot's request for work, with the facts of its node. `site_name` is the queue."""

    site_name: Name
    prod_source_label: MaybeName = None
    node: MaybeName = None
    computing_element: MaybeName = None
    n_jobs: Annotated[int, Field(ge=1, le=MAX_JOBS)] = 1
    memory: Annotated[Known, Field(description="MB")] = None
    disk_space: Annotated[Known, Field(description="MB")] = None
    cpu: Annotated[float | None, Field(ge=0, le=1e9, allow_inf_nan=False, description="MHz")] = None
    cores: Known = None
    remaining_time: Annotated[Known, Field(description="s")] = None
    vo: MaybeName = None
    working_group: MaybeName = None
    prod_user_id: MaybeName = None
    releases: Releases | None = None
    scheduler_id: MaybeName = None
    harvester_id: MaybeName = None
    worker_id: MaybeNumber = None
    batch_id: MaybeName = None
    request_id: UUID | None = None
    task_id: Annotated[MaybeNumber, Field(description="jobs of this production task only")] = None
    wait_time: Annotated[int, Field(ge=0, le=60, description="s that the answer may wait for a job")] = 0
    resource_type: Annotated[MaybeName, Field(validation_alias=AliasChoices("resource_type", "resourceType"))] = None

    @property
    def is_rare(self) -> bool:
        """Whether the request is none of those that are served many at once."""
        return self.task_id is not None or self.is_harvesters

    @property
    def is_harvesters(self) -> bool:
        """Whether Harvester asks (wire-protocol.md 8): the jobs are for stock pilots that it submits."""
        return bool(self.scheduler_id and self.scheduler_id.startswith(HARVESTER))

    def ask(self) -> PilotAsk:
        """The request as the domain knows it."""
        return PilotAsk(
            queue=self.site_name,
            node=self.node or "",
            label=self.prod_source_label or "",
            n_jobs=self.n_jobs,
            memory_mb=self.memory,
            disk_mb=self.disk_space,
            cpu_mhz=self.cpu or None,
            cores=self.cores,
            remaining_s=self.remaining_time,
            vo=self.vo,
            owner=self.prod_user_id,
            working_group=self.working_group,
            releases=self.releases,
            factory=self.harvester_id or self.scheduler_id,
            worker_id=self.worker_id,
            batch_id=self.batch_id,
            request_id=self.request_id,
            resource_type=self.resource_type,
            task_id=self.task_id,
        )


class ReportedFile(WireModel):
    """One output in a job's report."""

    fsize: Number
    adler32: str
    guid: MaybeName = None
    endpoint: MaybeName = None
    surl: PlainText = ""
    events: MaybeCount = None

    @field_validator("adler32")
    @classmethod
    def _eight_digits(cls, value: str) -> str:
        text = value.removeprefix("ad:")
        if not _ADLER32.fullmatch(text):
            raise ValueError("an adler32 has 8 hexadecimal digits")
        return text.lower().rjust(8, "0")


def _report(value: object) -> object:
    """The output report is JSON text inside JSON; empty means that nothing is reported."""
    if value in (None, ""):
        return None
    if isinstance(value, str):
        value = _parsed(value)
    if isinstance(value, dict):
        for one in value.values():
            if isinstance(one, dict) and "md5sum" in one and "adler32" not in one:
                raise ValueError(_ONLY_MD5)
    return value


_ONLY_MD5 = "there is only an md5sum; the catalogue here keeps adler32: have the pilot compute that"


def _parsed(text: str) -> object:
    """JSON, also with what the fast reader refuses, like half a surrogate pair: no reason to refuse a final report."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError('it must be JSON text: {"<lfn>": {"guid", "fsize", "adler32", "endpoint"}}') from None


class UpdateJob(WireModel):
    """A pilot's word on one job, from `starting` to the final report."""

    job_id: Annotated[int, Field(ge=1, le=2**63 - 1)]
    job_status: Literal["starting", "running", "holding", "transferring", "finished", "failed"]
    attempt_nr: MaybeCount = None
    lease: MaybeCount = None
    site_name: MaybeName = None
    node: MaybeName = None
    batch_id: MaybeName = None
    scheduler_id: MaybeName = None
    pilot_id: MaybeName = None
    start_time: MaybeTime = None
    end_time: MaybeTime = None
    core_count: MaybeCount = None
    cpu_consumption_time: MaybeSeconds = None
    max_rss: Annotated[MaybeNumber, Field(description="kB")] = None
    pilot_timing: Annotated[str, BeforeValidator(lambda value: value or ""), Field(max_length=255)] = ""
    n_events: MaybeNumber = None
    job_output_report: Annotated[dict[str, ReportedFile] | None, BeforeValidator(_report)] = Field(
        default=None,
        max_length=10_000,
        json_schema_extra={"anyOf": [{"type": "string"}, {"type": "object"}, {"type": "null"}]},
    )
    pilot_error_code: Code = 0
    pilot_error_diag: Diagnosis = ""
    trans_exit_code: Code = 0
    exe_error_code: Code = 0
    exe_error_diag: Diagnosis = ""
    pilot_log: Annotated[str, Field(max_length=10_000)] = ""
    stdout: Tail = ""

    @field_validator("job_output_report")
    @classmethod
    def _good_names(cls, report: dict[str, ReportedFile] | None) -> dict[str, ReportedFile] | None:
        for lfn in report or ():
            try:
                check_name("LFN", lfn)
            except Refused as refused:
                raise ValueError(str(refused)) from None
        return report

    def update(self) -> JobUpdate:
        """The update as the domain knows it; a final report's `body_hash` is the same for the same words."""
        report = self.job_output_report
        wall = (self.end_time - self.start_time).total_seconds() if self.start_time and self.end_time else None
        news = JobUpdate(
            job_id=self.job_id,
            status=JobStatus(self.job_status),
            attempt=self.attempt_nr,
            lease=self.lease,
            node=self.node,
            batch_id=self.batch_id,
            outputs=None if report is None else tuple(_outputs(report)),
            errors=tuple(self._errors()),
            n_events=self.n_events,
            wall_s=None if wall is None else max(0.0, wall),
            cpu_s=self.cpu_consumption_time,
            max_rss_kb=self.max_rss,
            started_at=self.start_time,
            ended_at=self.end_time,
            timing=self.pilot_timing or None,
            stdout=self.stdout,
        )
        return with_hash(news) if self.job_status in {"finished", "failed"} else news

    def _errors(self) -> Iterator[ErrorPair]:
        """The error families that a pilot fills (domain.md 4)."""
        if self.pilot_error_code:
            yield ErrorPair("pilot", self.pilot_error_code, self.pilot_error_diag)
        if self.exe_error_code:
            yield ErrorPair("exe", self.exe_error_code, self.exe_error_diag)
        if self.trans_exit_code:
            yield ErrorPair("transform", self.trans_exit_code)


def with_hash(news: JobUpdate) -> JobUpdate:
    """A final report with the hash of its meaning, by which it is known again."""
    words = tuple(news)
    return JobUpdate._make((*words[:-1], hashlib.sha256(orjson.dumps(words)).hexdigest()))


def _outputs(report: Mapping[str, ReportedFile]) -> Iterator[OutputReport]:
    for lfn, one in report.items():
        yield OutputReport(lfn, one.guid, one.fsize, one.adler32, one.endpoint, one.events)


MOST_UPDATES = 1000


class UpdateJobsBulk(WireModel):
    """Updates of several jobs; each is judged alone, so that one bad one does not lose the others."""

    job_list: Annotated[list[dict[str, object]], Field(min_length=1, max_length=MOST_UPDATES)]
    harvester_id: MaybeName = None


class UpdateWorkerStatus(WireModel):
    """A pilot's word on its own life to its factory's books; `site` is its queue."""

    worker_id: Number
    harvester_id: Name
    status: Literal["started", "finished"]
    site: Name
    node_id: MaybeName = None

    def report(self) -> WorkerReport:
        """The same as a factory would say it."""
        status = "running" if self.status == "started" else "finished"
        return WorkerReport(self.harvester_id, self.worker_id, self.site, status, node=self.node_id)
