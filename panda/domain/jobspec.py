"""Job specs: the jobs that `Client.submitJobs` of panda-client 2.2.0 sends become loose jobs with a request per group.

The client writes each spec as a list: the values of its attributes by position, then those of its files. It owns the
reading of that; an attribute that would change what is run and that no task of ours can express is refused by name.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from panda.domain.given import Given
from panda.domain.names import bare_name, check_name, scope_of
from panda.domain.refine import DEFAULT_PRIORITY
from panda.domain.specform import ATTRIBUTES, FILE_ATTRIBUTES, named
from panda.domain.templates import each, is_plain
from panda.domain.work import InputSpec, LooseJob, LooseJobs, OutputSpec, Resources, Split, TaskRequest
from panda.errors import BadRequest, Refused

_HIGHEST_PRIORITY = 30_000
_ANYWHERE = frozenset({"", "local"})
_SECONDS = frozenset({"", "s", "sec", "second", "seconds"})
_MEGABYTES: Mapping[str, int] = {"": 1, "MB": 1, "GB": 1024}
_SECRETS = "us"


@dataclass(frozen=True, slots=True)
class _File:
    """One file of a spec: `input`, `output` or `log`, its LFN and dataset."""

    kind: str
    lfn: str
    dataset: str


@dataclass(frozen=True, slots=True)
class _Spec:
    """One job as it was sent: what it shares with others in `request`, its own beside it."""

    where: str
    request: TaskRequest
    parameters: str
    inputs: tuple[_File, ...]
    outputs: tuple[_File, ...]

    @property
    def slots(self) -> tuple[tuple[str, str], ...]:
        """Kind and dataset of each output, in order: what jobs of one task have in common."""
        return tuple((one.kind, one.dataset) for one in self.outputs)


@dataclass(frozen=True, slots=True)
class SpecGroups:
    """Groups of loose jobs, and for each job as it was sent (group, place in the group)."""

    groups: tuple[LooseJobs, ...]
    places: tuple[tuple[int, int], ...]


def loose_jobs(states: Sequence[object], *, owner: str, vo: str, programs: str) -> SpecGroups:
    """Read job specs as `Client.submitJobs` sends them. Those that write into the same datasets are one task's.

    The tasks are `owner`'s; `vo` stands where a spec names none; only transformations below `programs` may be
    addresses. Raises BadRequest for what cannot be read, Refused for what no task can express; both name the job and
    the attribute.
    """
    specs = [_spec(state, f"jobs[{place}]", owner, vo, programs) for place, state in enumerate(states)]
    by_slots: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for place, spec in enumerate(specs):
        by_slots.setdefault(spec.slots, []).append(place)
    _refuse_shared(by_slots)
    groups = [_group([specs[place] for place in places]) for places in by_slots.values()]
    told = {
        place: (number, index) for number, places in enumerate(by_slots.values()) for index, place in enumerate(places)
    }
    return SpecGroups(tuple(groups), tuple(told[place] for place in range(len(specs))))


def _spec(state: object, where: str, owner: str, vo: str, programs: str) -> _Spec:
    if not isinstance(state, list) or not state or not isinstance(state[-1], list):
        raise BadRequest(f"{where} is not a job spec", hint="a list of values whose last is the list of its files")
    # A spec may bring the attributes that changed since it was made, as an object before its files.
    values = state[:-2] if len(state) > 1 and isinstance(state[-2], dict) else state[:-1]
    given = named(values, ATTRIBUTES, where)
    files = [_file(one, f"{where}.Files[{place}]", given) for place, one in enumerate(state[-1])]
    outputs = sorted((one for one in files if one.kind != "input"), key=lambda one: (one.kind == "log", one.dataset))
    if not outputs:
        raise Refused(f"{where} has no output file", hint="a FileSpec of type output or log, with lfn and dataset")
    return _Spec(
        where, _request(given, owner, vo, programs), _literal(given, outputs),
        tuple(one for one in files if one.kind == "input"), tuple(outputs),
    )  # fmt: skip


def _file(state: object, where: str, job: Given) -> _File:
    owned = isinstance(state, list) and len(state) == len(FILE_ATTRIBUTES) + 1
    given = named(state[:-1] if owned and isinstance(state, list) else state, FILE_ATTRIBUTES, where)
    _anywhere(given)
    kind, lfn = given.text("type"), check_name("file", given.text("lfn"))
    if kind not in {"input", "output", "log"}:
        raise Refused(f"{where} has type {kind!r}", hint="'input', 'output' or 'log'")
    block = "prodDBlock" if kind == "input" else "destinationDBlock"
    dataset = bare_name(given.text("dataset", "") or given.text(block, "") or job.text(block, ""))
    if not dataset:
        raise BadRequest(f"{where} names no dataset", hint=f"'dataset', or {block!r} of the file or the job")
    if kind != "input" and given.text("scope", scope_of(dataset)) != scope_of(dataset):
        raise Refused(
            f"{where} attribute 'scope' is {given.text('scope')!r}", hint=f"its dataset's: {scope_of(dataset)!r}"
        )
    return _File(kind, lfn, dataset)


def _anywhere(given: Given) -> None:
    """Refuse another place for outputs than the one they get: the Tier 1 of the task's cloud."""
    if given.text("destinationSE", "") not in _ANYWHERE:
        raise Refused(
            f"{given.where} attribute 'destinationSE' is {given.text('destinationSE')!r}",
            hint="leave it out: outputs are collected at the Tier 1 of the jobs' cloud; name that with 'cloud'",
        )


def _literal(given: Given, outputs: Sequence[_File]) -> str:
    """The parameters as they stand; an output's name becomes a placeholder, since later attempts write other names."""
    text = given.text("jobParameters", "")
    if not is_plain(text):
        raise Refused(
            f"{given.where} attribute 'jobParameters' holds a placeholder that would be filled in",
            hint="no $JEDITASKID, ${SN}, ${IN}, ... in job specs",
        )
    names = [one.lfn for one in outputs if one.kind == "output"]
    if not names:
        return text
    either = "|".join(re.escape(one) for one in sorted(names, key=len, reverse=True))
    return re.sub(rf"(?<![\w.+-])(?:{either})(?![\w.+-])", lambda found: f"${{OUTPUT{names.index(found[0])}}}", text)


def _request(given: Given, owner: str, vo: str, programs: str) -> TaskRequest:
    _anywhere(given)
    label = given.text("prodSourceLabel", "user")
    special = {one for one in given.text("specialHandling", "").split(",") if one}
    if special - {_SECRETS}:
        raise Refused(f"{given.where} attribute 'specialHandling' is {given.text('specialHandling')!r}",
                      hint=f"only {_SECRETS!r}, the owner's secrets")  # fmt: skip
    return TaskRequest(
        name="",
        transformation=_transformation(given, programs),
        parameters="",
        outputs=(),
        split=Split(),
        vo=given.text("VO", vo),
        owner=owner,
        working_group=given.text("workingGroup", "") or None,
        label=label,
        task_type="anal" if label == "user" else "prod",
        processing_type=given.text("processingType", "panda-client"),
        share=given.text("gshare", "default"),
        release=_release(given),
        architecture=given.text("cmtConfig", ""),
        container=given.text("container_name", ""),
        priority=_priority(given),
        resources=_resources(given),
        max_attempts=given.whole("maxAttempt") or 3,
        cloud=given.text("cloud", "") or None,
        site=given.text("computingSite", "") or None,
        use_secrets=_SECRETS in special,
    )


def _priority(given: Given) -> int:
    found = given.whole("currentPriority") or given.whole("assignedPriority") or DEFAULT_PRIORITY
    return min(found, _HIGHEST_PRIORITY)


def _transformation(given: Given, programs: str) -> str:
    name = given.text("transformation")
    if "://" in name and not (programs and name.startswith(programs)):
        raise Refused(f"{given.where} attribute 'transformation' {name!r} is not ours",
                      hint=f"a program of a release, or one of {programs}")  # fmt: skip
    if given.text("container_name", "") and name != f"{programs}runGen":
        raise Refused(f"{given.where} attribute 'container_name' goes with {programs}runGen only",
                      hint="leave it out")  # fmt: skip
    return name


def _release(given: Given) -> str:
    """A release is one name here: pilots are told the same as homepackage and swRelease."""
    release, package = given.text("AtlasRelease", ""), given.text("homepackage", "")
    if release and package and release != package:
        raise Refused(
            f"{given.where} attribute 'homepackage' is {package!r} and AtlasRelease {release!r}",
            hint="give one of them, the name of an installed release",
        )
    return release or package


def _resources(given: Given) -> Resources:
    cores = given.whole("coreCount") or 1
    if given.text("maxCpuUnit", "") not in _SECONDS:
        raise Refused(f"{given.where} attribute 'maxCpuUnit' is {given.text('maxCpuUnit')!r}", hint="seconds")
    per_core = given.text("minRamUnit", "") == "MBPerCore"
    memory = (given.whole("minRamCount") or 0) * (cores if per_core else _unit(given, "minRamUnit"))
    found = Resources(
        cores=cores,
        memory_mb=memory,
        disk_mb=(given.whole("maxDiskCount") or 0) * _unit(given, "maxDiskUnit"),
        wall_s=given.whole("maxWalltime") or (given.whole("maxCpuCount") or 0) // cores,
    )
    if max(found.cores, found.memory_mb, found.disk_mb, found.wall_s) >= 2**31:
        raise BadRequest(f"{given.where} asks for more than any site has", hint="cores, MB, MB and seconds below 2^31")
    return found


def _unit(given: Given, key: str) -> int:
    unit = given.text(key, "")
    if unit not in _MEGABYTES:
        raise Refused(f"{given.where} attribute {key!r} is {unit!r}", hint="'MB' or 'GB'")
    return _MEGABYTES[unit]


def _refuse_shared(groups: Mapping[tuple[tuple[str, str], ...], list[int]]) -> None:
    """Refuse jobs that write into one dataset, but not all into the same ones: a task's jobs have equal outputs."""
    first: dict[str, int] = {}
    for slots, places in groups.items():
        for dataset in dict.fromkeys(name for _, name in slots):
            other = first.setdefault(dataset, places[0])
            if other != places[0]:
                raise Refused(
                    f"jobs[{other}] and jobs[{places[0]}] write into {dataset!r}, but not into all the same datasets",
                    hint="jobs that share an output dataset need the same number of files in each dataset",
                )


def _group(specs: Sequence[_Spec]) -> LooseJobs:
    first = specs[0]
    for spec in specs:
        _refuse_difference(first, spec)
    outputs = tuple(
        OutputSpec("log" if kind == "log" else f"output{slot}", dataset, each(_names(specs, slot)), kind)
        for slot, (kind, dataset) in enumerate(first.slots)
    )
    every = [one.lfn for spec in specs for one in spec.outputs]
    twice = next((one for one in every if every.count(one) > 1), None) if len(set(every)) < len(every) else None
    if twice is not None:
        raise Refused(f"two output files are called {twice!r}", hint="a name of its own for each file")
    datasets = tuple(dict.fromkeys(one.dataset for spec in specs for one in spec.inputs))
    highest = max(spec.request.priority for spec in specs)
    request = replace(
        first.request,
        name=first.outputs[0].dataset,
        outputs=outputs,
        inputs=(InputSpec("IN", datasets),) if datasets else (),
        split=Split(n_jobs=len(specs)),
        priority=highest,
    )
    jobs = tuple(
        LooseJob(spec.parameters, tuple(one.lfn for one in spec.inputs), spec.request.priority - highest)
        for spec in specs
    )
    return LooseJobs(request, jobs)


def _names(specs: Sequence[_Spec], slot: int) -> Iterator[str]:
    return (spec.outputs[slot].lfn for spec in specs)


_SENT_AS: Mapping[str, str] = {
    "vo": "VO", "working_group": "workingGroup", "label": "prodSourceLabel", "processing_type": "processingType",
    "share": "gshare", "release": "AtlasRelease", "architecture": "cmtConfig", "container": "container_name",
    "resources": "coreCount, minRamCount, maxDiskCount, maxCpuCount or maxWalltime", "max_attempts": "maxAttempt",
    "site": "computingSite", "use_secrets": "specialHandling",
}  # fmt: skip
"""How the client calls what a request has under another name."""


def _refuse_difference(first: _Spec, other: _Spec) -> None:
    """Refuse another value where jobs that write into the same datasets have one for all: they are one task here."""
    for one in fields(TaskRequest):
        if one.name != "priority" and getattr(first.request, one.name) != getattr(other.request, one.name):
            raise Refused(
                f"{other.where} differs from {first.where} in {_SENT_AS.get(one.name, one.name)}",
                hint="jobs that write into the same datasets are one task: give it the same value, or other datasets",
            )
