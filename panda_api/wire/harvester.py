"""What Harvester sends beside job calls: workers, statistics, signs of life, dialogs, metrics (wire-protocol.md 8)."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from panda.domain.dispatch import WorkerReport
from panda.domain.harvester import (
    Dialog,
    HarvesterBeat,
    HarvesterOrder,
    ServiceMetrics,
    kill_worker_ids,
    kill_workers,
    report_statistics,
    set_workers,
)
from panda_api.wire.fields import (
    Count,
    Diagnosis,
    JsonObject,
    MaybeCount,
    MaybeName,
    MaybeTime,
    Name,
    Number,
    NumberText,
    Tidied,
    Time,
    WireModel,
    json_object,
)

SEVERAL = 10_000


class Worker(WireModel):
    """One pilot as its factory sees it. Times are UTC, `minRamCount` is MB."""

    workerID: Number  # noqa: N815 - the protocol's name
    batchID: NumberText = None  # noqa: N815
    status: Name
    computingSite: Name  # noqa: N815
    nCore: MaybeCount = None  # noqa: N815
    submitTime: MaybeTime = None  # noqa: N815
    startTime: MaybeTime = None  # noqa: N815
    endTime: MaybeTime = None  # noqa: N815
    nodeID: NumberText = None  # noqa: N815
    nJobs: MaybeCount = None  # noqa: N815
    computingElement: NumberText = None  # noqa: N815
    submissionHost: NumberText = None  # noqa: N815
    resourceType: NumberText = None  # noqa: N815
    diagMessage: Diagnosis | None = None  # noqa: N815
    pandaid_list: Annotated[list[Number] | None, Field(max_length=SEVERAL)] = None
    queueName: Tidied = None  # noqa: N815
    jobType: Tidied = None  # noqa: N815
    nativeStatus: Tidied = None  # noqa: N815
    nativeExitCode: Tidied = None  # noqa: N815
    errorCode: Tidied = None  # noqa: N815
    minRamCount: Tidied = None  # noqa: N815
    harvesterHost: Tidied = None  # noqa: N815
    stdOut: Tidied = None  # noqa: N815
    stdErr: Tidied = None  # noqa: N815
    batchLog: Tidied = None  # noqa: N815
    jdl: Tidied = None

    def report(self, factory: str) -> WorkerReport:
        """The worker as the domain knows it."""
        return WorkerReport(
            factory=factory,
            worker_id=self.workerID,
            queue=self.computingSite,
            status=self.status,
            batch_id=self.batchID,
            node=self.nodeID,
            cores=min(self.nCore or 1, _MOST_CORES),
            submitted_at=self.submitTime,
            started_at=self.startTime,
            ended_at=self.endTime,
            diag=self.diagMessage or None,
            jobs=tuple(self.pandaid_list or ()),
            n_jobs=self.nJobs or 0,
            computing_element=self.computingElement,
            submission_host=self.submissionHost,
            resource_type=self.resourceType,
            details={name: value for name in _DETAILS if (value := getattr(self, name)) is not None},
        )


_MOST_CORES = 32_767
_DETAILS = (
    "queueName", "jobType", "nativeStatus", "nativeExitCode", "errorCode", "minRamCount", "harvesterHost",
    "stdOut", "stdErr", "batchLog", "jdl",
)  # fmt: skip


class OfHarvester(WireModel):
    """A call of one Harvester instance."""

    harvester_id: Name


class UpdateWorkers(OfHarvester):
    """A factory's word on its pilots."""

    workers: Annotated[list[Worker], Field(max_length=SEVERAL)]


class HeartbeatData(BaseModel):
    """What an instance says of itself; what is not named here is kept as it is."""

    model_config = ConfigDict(frozen=True, extra="allow")

    startTime: MaybeTime = None  # noqa: N815
    sw_version: Tidied = None


class Heartbeat(OfHarvester):
    """A sign of life; after a start `data` has `startTime`, `sw_version`, `commit_stamp` and the commands it takes."""

    data: Annotated[HeartbeatData | None, BeforeValidator(json_object)] = None

    def beat(self, owner: str, host: str) -> HarvesterBeat:
        """The sign of life as the domain knows it."""
        said = self.data or HeartbeatData()
        return HarvesterBeat(self.harvester_id, owner, host, said.sw_version, said.startTime, said.model_extra or {})


class ReportStatistics(OfHarvester):
    """How many workers an instance has at a queue: `{job type: {resource type: {status: n}}}`, as JSON text."""

    panda_queue: Name
    statistics: Annotated[
        dict[Name, dict[Name, dict[Name, Annotated[Count, BeforeValidator(lambda value: value or 0)]]]],
        BeforeValidator(json_object),
    ]


class OneDialog(WireModel):
    """A message of an agent."""

    diagID: Number  # noqa: N815
    moduleName: Tidied = None  # noqa: N815
    identifier: Tidied = None
    creationTime: MaybeTime = None  # noqa: N815
    messageLevel: Tidied = None  # noqa: N815
    diagMessage: Diagnosis | None = None  # noqa: N815

    def dialog(self, now: datetime) -> Dialog:
        """The message as the domain knows it."""
        return Dialog(
            self.diagID,
            self.moduleName or "",
            self.identifier or "",
            self.messageLevel or "",
            self.diagMessage or "",
            self.creationTime or now,
        )


class AddDialogs(OfHarvester):
    """Messages of an instance's agents to operators."""

    dialogs: Annotated[list[OneDialog], Field(max_length=SEVERAL)]


class UpdateMetrics(OfHarvester):
    """Measurements of an instance's hosts: `[time, host, metrics]`, the metrics as an object or its JSON text."""

    metrics: Annotated[list[tuple[Time, Name, JsonObject]], Field(max_length=1000)]

    def measured(self) -> list[ServiceMetrics]:
        """The measurements as the domain knows them."""
        return [ServiceMetrics(host, at, found) for at, host, found in self.metrics]


class AcquireCommands(OfHarvester):
    """A request for the commands that wait for an instance."""

    n_commands: Annotated[int, Field(ge=1, le=SEVERAL)] = 100


class AcknowledgeCommands(WireModel):
    """Commands that were carried out."""

    command_ids: Annotated[list[Number], Field(max_length=SEVERAL)]


Conditions = Annotated[list[Name] | Literal["ALL"], Field(max_length=1000)]


class SweepCommand(WireModel):
    """Kill the workers of a queue, of some states, computing elements and submission hosts; "ALL" does not bind."""

    panda_queue: Name
    status_list: Annotated[list[Name], Field(min_length=1, max_length=100)]
    ce_list: Conditions = "ALL"
    submission_host_list: Conditions = "ALL"

    def order(self) -> HarvesterOrder:
        """The command for Harvester."""
        return kill_workers(
            self.panda_queue, tuple(self.status_list), _given(self.ce_list), _given(self.submission_host_list)
        )


class _Order(WireModel):
    """An operator's command, for one instance or for all that serve the queue."""

    harvester: MaybeName = None


class KillWorkers(_Order):
    """Kill the workers of a queue: of some states (those that wait), computing elements and submission hosts (all)."""

    command: Literal["kill_workers"]
    queue: Name
    statuses: Annotated[list[Name], Field(default_factory=list, max_length=100)]
    computing_elements: Annotated[list[Name], Field(default_factory=list, max_length=1000)]
    submission_hosts: Annotated[list[Name], Field(default_factory=list, max_length=1000)]

    def order(self) -> HarvesterOrder:
        """The command for Harvester."""
        return kill_workers(
            self.queue, tuple(self.statuses), tuple(self.computing_elements), tuple(self.submission_hosts)
        )


class KillIds(_Order):
    """Kill single workers of one instance, by its own numbers."""

    command: Literal["kill_ids"]
    harvester: Name
    workers: Annotated[list[Number], Field(min_length=1, max_length=10_000)]
    queue: None = None

    def order(self) -> HarvesterOrder:
        """The command for Harvester."""
        return kill_worker_ids(tuple(self.workers))


class SetWorkers(_Order):
    """Have so many new workers submitted at a queue that is steered from here."""

    command: Literal["set_workers"]
    queue: Name
    job_type: Name = "managed"
    resource_type: Name = "SCORE"
    number: Annotated[int, Field(ge=0, le=100_000)]

    def order(self) -> HarvesterOrder:
        """The command for Harvester."""
        return set_workers(self.queue, self.job_type, self.resource_type, self.number)


class ReportWorkers(_Order):
    """Have the numbers of a queue's workers told at once."""

    command: Literal["report_statistics"]
    queue: Name

    def order(self) -> HarvesterOrder:
        """The command for Harvester."""
        return report_statistics(self.queue)


class GiveCommand(WireModel):
    """A command of an operator to Harvester."""

    order: Annotated[KillWorkers | KillIds | SetWorkers | ReportWorkers, Field(discriminator="command")]


def _given(conditions: list[str] | Literal["ALL"]) -> tuple[str, ...]:
    return () if conditions == "ALL" else tuple(conditions)
