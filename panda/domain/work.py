"""What is asked for: a production task's request, its inputs and outputs, and what each of its jobs needs."""

import re
from dataclasses import dataclass, field

from panda.domain.names import bare_name, check_name, scope_of
from panda.domain.templates import samples
from panda.errors import Refused

LONGEST_PATTERN = 255

LABELS = ("managed", "user", "panda", "test", "ptest", "prod_test", "validation", "install")
"""prodSourceLabel: the kinds of jobs of the central queue (domain.md 1, "Panda server")."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which files of an input stream are taken: all, or those that these conditions leave, without the first `skip`.

    A file is taken if one of `include` matches somewhere in its LFN (regular expressions), none of `exclude` does, and
    `files` names it; an empty condition leaves every file.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    skip: int = 0


EVERY_FILE = Selection()


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One stream of input files: datasets (or containers) that are numbered one after the other.

    `role` is "primary" for the stream that decides the number of jobs, "secondary" for one that every job takes
    `files_per_job` files from (cyclically). An `open` stream belongs to a parent that still runs.
    """

    stream: str
    datasets: tuple[str, ...]
    role: str = "primary"
    files_per_job: int | None = None
    selection: Selection = EVERY_FILE


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One output file of every job: its dataset, and the template of its LFN.

    `kind` is "output" or "log". Placeholders of the template: wire-protocol.md 7.2 and `panda.domain.templates`.
    """

    name: str
    dataset: str
    lfn: str
    kind: str = "output"
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Split:
    """How a task becomes jobs: events, files or bytes per job, or their number; the first set wins (domain.md 2.7).

    `n_jobs` with no input makes that many jobs; `n_events` bounds the events of a task without input, `max_files` the
    files that are taken of the primary stream.
    """

    events_per_job: int | None = None
    files_per_job: int | None = None
    bytes_per_job: int | None = None
    n_jobs: int | None = None
    n_events: int | None = None
    max_files: int | None = None


@dataclass(frozen=True, slots=True)
class Resources:
    """What one job needs: cores, memory (MB), scratch disk (MB), work (HS23 seconds) and base wall time (s).

    `wall_s` is used instead of work where only a wall time is known. 0 means unknown and never refuses.
    """

    cores: int = 1
    memory_mb: int = 0
    disk_mb: int = 0
    work_hs23_s: int = 0
    wall_s: int = 0


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """A production task as its owner asks for it.

    `site` is the one site it may run at; else `sites`, if there are any, are those it may run at, without
    `excluded_sites`. `use_secrets` gives its jobs the owner's secrets.
    `build` is a task that is submitted with it and makes a library that its jobs read (prun without --noBuild).
    """

    name: str
    transformation: str
    parameters: str
    outputs: tuple[OutputSpec, ...]
    split: Split
    inputs: tuple[InputSpec, ...] = ()
    vo: str = "atlas"
    owner: str = "prodmanager"
    working_group: str | None = None
    label: str = "managed"
    task_type: str = "prod"
    processing_type: str = "prod"
    campaign: str | None = None
    share: str = "default"
    release: str = ""
    architecture: str = ""
    container: str = ""
    priority: int = 500
    resources: Resources = field(default_factory=Resources)
    max_attempts: int = 3
    bunch_size: int | None = None
    ddm_mode: str = "embedded"
    cloud: str | None = None
    site: str | None = None
    sites: tuple[str, ...] = ()
    excluded_sites: tuple[str, ...] = ()
    use_secrets: bool = False
    parent_task: int | None = None
    seed: int = 0
    exp_remaining_work: float | None = None
    proddb_task: int | None = None
    wire_parameters: str | None = None
    build: "TaskRequest | None" = None


@dataclass(frozen=True, slots=True)
class LooseJob:
    """One job of its own: its parameters, and LFNs of the request's primary input datasets that it reads."""

    parameters: str
    inputs: tuple[str, ...] = ()
    priority_offset: int = 0


@dataclass(frozen=True, slots=True)
class LooseJobs:
    """Jobs with parameters of their own, and the request that holds what they share."""

    request: TaskRequest
    jobs: tuple[LooseJob, ...]


def check_request(request: TaskRequest) -> TaskRequest:
    """Return the request if it can be understood at all; raise Refused that says what is wrong and what would be right.

    Pure checks only: names, counts, the split rule. Whether a site can run it is asked with the grid at hand.
    """
    check_name("task name", bare_name(request.name))
    _check_counts(request)
    _check_split(request)
    _check_inputs(request)
    _check_outputs(request)
    if request.label not in LABELS:
        raise Refused(f"label {request.label!r} is unknown", hint=f"one of {', '.join(LABELS)}")
    if request.ddm_mode not in {"embedded", "none"}:
        raise Refused(f"ddm mode {request.ddm_mode!r} is unknown", hint="'embedded' or 'none'")
    if not request.transformation:
        raise Refused("transformation is empty", hint="the name of a program in the release's folder, or an https URL")
    return request


_INT = 2**31 - 1
_MOST = {
    **dict.fromkeys(("events_per_job", "files_per_job", "n_jobs", "max_files"), _INT),
    **dict.fromkeys(("memory_mb", "disk_mb", "work_hs23_s", "wall_s", "seed"), _INT),
    "bytes_per_job": 2**53, "n_events": 2**53, "cores": 10_000, "bunch_size": 10_000, "priority": 30_000,
    "max_attempts": 50,
}  # fmt: skip
"""What is more is a mistake, and no column holds it; 50 attempts are the client's own limit (wire-protocol.md 7.2)."""


def _check_counts(request: TaskRequest) -> None:
    split, needs = request.split, request.resources
    positive = {
        "events_per_job": split.events_per_job,
        "files_per_job": split.files_per_job,
        "bytes_per_job": split.bytes_per_job,
        "n_jobs": split.n_jobs,
        "n_events": split.n_events,
        "max_files": split.max_files,
        "max_attempts": request.max_attempts,
        "cores": needs.cores,
        "bunch_size": request.bunch_size,
    }
    for name, value in positive.items():
        if value is not None and value < 1:
            raise Refused(f"{name} is {value}; it must be at least 1", hint="a positive number, or leave it out")
    natural = {
        "memory_mb": needs.memory_mb,
        "disk_mb": needs.disk_mb,
        "work_hs23_s": needs.work_hs23_s,
        "wall_s": needs.wall_s,
        "priority": request.priority,
        "seed": request.seed,
    }
    for name, number in natural.items():
        if number < 0:
            raise Refused(f"{name} is {number}; it must not be negative", hint="0 means unknown")
    for name, limit in _MOST.items():
        asked = {**positive, **natural}[name]
        if asked is not None and asked > limit:
            raise Refused(f"{name} is {asked}; at most {limit}", hint=f"{limit}")


def _check_split(request: TaskRequest) -> None:
    split = request.split
    if any(one.role == "primary" for one in request.inputs):
        return
    if request.parent_task is not None and not request.inputs:
        return
    if split.n_jobs is None and not (split.n_events and split.events_per_job):
        raise Refused(
            "a task without input must say how many jobs it has",
            hint="give n_jobs, or n_events together with events_per_job",
        )


def _check_inputs(request: TaskRequest) -> None:
    primaries = [one for one in request.inputs if one.role == "primary"]
    if len(primaries) > 1:
        raise Refused(f"{len(primaries)} primary input streams; one at most decides the number of jobs")
    for stream in request.inputs:
        if not stream.datasets:
            raise Refused(f"input stream {stream.stream!r} names no dataset")
        if stream.role not in {"primary", "secondary"}:
            raise Refused(f"input role {stream.role!r} is unknown", hint="'primary' or 'secondary'")
        if stream.files_per_job is not None and stream.files_per_job < 1:
            raise Refused(f"files_per_job of stream {stream.stream!r} is {stream.files_per_job}; at least 1")
        if max(stream.files_per_job or 0, stream.selection.skip) > _INT:
            raise Refused(f"input stream {stream.stream!r} takes or skips more files than there can be", hint=f"{_INT}")
        _check_selection(stream)
        for dataset in stream.datasets:
            check_name("dataset", bare_name(dataset))


def _check_selection(stream: InputSpec) -> None:
    for pattern in (*stream.selection.include, *stream.selection.exclude):
        if not pattern or len(pattern) > LONGEST_PATTERN or re.search(r"\\[1-9]", pattern):
            raise Refused(
                f"the pattern {pattern!r} of input stream {stream.stream!r} cannot be used",
                hint=f"1 to {LONGEST_PATTERN} characters without back references",
            )


_TELL_JOBS_APART = ("${SN", "$ORDINAL", "${EACH/")


def _check_outputs(request: TaskRequest) -> None:
    if not request.outputs:
        raise Refused("the task has no output", hint="give at least one output or log dataset with an LFN template")
    seen: set[str] = set()
    for output in request.outputs:
        check_name("dataset", bare_name(output.dataset))
        check_name("scope", scope_of(output.dataset))
        if not any(one in output.lfn for one in _TELL_JOBS_APART):
            raise Refused(
                f"the LFN template {output.lfn!r} gives every job the same name",
                hint=f"put ${{SN}} into it, e.g. {nearest_template(output.lfn)!r}",
            )
        _check_lfns(output, request.split.n_jobs)
        if output.lfn in seen:
            raise Refused(f"two outputs have the LFN template {output.lfn!r}")
        seen.add(output.lfn)
    if sum(one.kind == "log" for one in request.outputs) > 1:
        raise Refused("more than one log output; a job has one log")


def _check_lfns(output: OutputSpec, n_jobs: int | None) -> None:
    """Refuse a template that gives a file an impossible name, or lists other than one name for each job."""
    names = samples(output.lfn)
    for name in names:
        check_name("file", name)
    if "${EACH/" in output.lfn and len(names) != n_jobs:
        raise Refused(
            f"output {output.name!r} lists {len(names)} names for {n_jobs or 'as yet unknown'} jobs",
            hint="one name for each job; give n_jobs",
        )


def nearest_template(lfn: str) -> str:
    """Put the serial number before the extension of an LFN template."""
    stem, dot, extension = lfn.rpartition(".")
    return f"{stem}._${{SN}}.{extension}" if dot else f"{lfn}._${{SN}}"
