"""Refinement: from `task_parameters`, as PanDA's clients send them, to the request for a production task.

It owns the reading of that dictionary (wire-protocol.md 7.2); what a request may ask for is checked by `domain.work`.
What we cannot do is refused by name: a key that changes what is run is never dropped in silence.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from panda.domain.given import Given, kind_of, refuse_nul
from panda.domain.names import bare_name
from panda.domain.work import EVERY_FILE, InputSpec, OutputSpec, Resources, Selection, Split, TaskRequest
from panda.errors import BadRequest, Refused

DEFAULT_PRIORITY = 1000
GIGABYTE = 1024**3

# Keys that change what is run and that are not served (yet): what to do instead.
NOT_SERVED: Mapping[str, str] = {
    "mergeSpec": "submit a second task that reads the first one's output, many files per job, and merges them",
    "preproSpec": "name the input datasets yourself",
    "pfnList": "register the files in a dataset and name that (inDS)",
    "loadXML": "give files per job, events per job or bytes per job",
    "eventService": "leave it out",
    "hpoWorkflow": "leave it out",
    "addNthFieldToLFN": "leave it out: the names have the task's id and the job's number",
    "skipFilesUsedBy": "name the files with inputFileList, or skip the first with nSkipFiles",
    "tarBallViaDDM": "let the client upload the sandbox",
}

# prun excludes old logs from every input dataset in these words; our log files are never in an output dataset.
_USUAL_EXCLUDE = r"\.log\.tgz(\.\d+)*$"
_NUMBERS = frozenset({"pseudo_input", "number"})
_STREAM = re.compile(r"\$\{([A-Z][A-Z_]*[0-9]*)(?:/[^}]*)?\}")
_PRIMARY = "IN"
_IMAGE = re.compile(r"[A-Za-z0-9/.][\x21-\x7e]{0,499}")
_AROUND = ("preprocess", "postprocess")

LIBRARY = "LIB"
"""Stream of the library that a build step makes, `${LIB}` in the clients' parameters."""

BUILD = "build"
"""Task type of the build step of another task."""


def refine(
    parameters: Mapping[str, object], *, owner: str, programs: str = "", parent: int | None = None
) -> TaskRequest:
    """Read `task_parameters` as a request of `owner`.

    Tasks that name no transformation (prun leaves it to the server) run `<programs>runGen`, their build step
    `<programs>buildGen`; no other address is taken. Raises BadRequest for a missing key or a wrong type, Refused for
    what is not served; both name the key.
    """
    refuse_nul(parameters)
    given = Given(parameters)
    for key, instead in NOT_SERVED.items():
        if parameters.get(key):
            raise Refused(f"task_parameters key {key!r} is not served", hint=instead)
    items = _items(given)
    outputs = _outputs(items, given)
    inputs = () if given.flag("noInput") else _inputs(items, given)
    label = given.text("prodSourceLabel", "user")
    site, sites = _sites(given)
    request = TaskRequest(
        name=given.text("taskName"),
        transformation=_program(given, programs),
        parameters=_job_parameters(items, outputs, inputs, given.text("sourceURL", "")),
        outputs=outputs,
        split=_split(given, has_input=bool(inputs)),
        inputs=inputs,
        vo=given.text("vo", "atlas"),
        owner=owner,
        working_group=given.text("workingGroup", "") or None,
        label=label,
        task_type=given.text("taskType", "anal" if label == "user" else "prod"),
        processing_type=given.text("processingType", "panda-client"),
        campaign=given.text("campaign", "") or None,
        share=given.text("gshare", "default"),
        release=given.text("transUses", ""),
        architecture=given.text("architecture", ""),
        container=_container(given),
        priority=given.whole("taskPriority") or given.whole("currentPriority") or DEFAULT_PRIORITY,
        resources=_resources(given),
        max_attempts=1 if given.flag("disableAutoRetry") else given.whole("maxAttempt") or 3,
        cloud=given.text("cloud", "") or None,
        site=site,
        sites=sites,
        excluded_sites=_names(given, "excludedSite"),
        use_secrets=given.flag("useSecrets"),
        parent_task=parent,
        wire_parameters=json.dumps(dict(parameters), separators=(",", ":"), default=str),
    )
    spec = parameters.get("buildSpec")
    return request if not spec else _with_build(request, spec, given, programs)


def _container(given: Given) -> str:
    """The image that the user's command runs in; `runGen` starts it, so the steps of prun's multiStepExec are its own.

    Raises Refused for what would be lost: other steps, options of the runtime, a build step, another transformation.
    """
    image, steps = given.text("container_name", ""), given.values.get("multiStepExec")
    if given.text("processingType", "").endswith("-jedi-cont"):
        raise Refused("containers in the old way (--oldContMode) are not served", hint="leave --oldContMode out")
    if steps and not (image and _are_usual(steps)):
        raise Refused("task_parameters key 'multiStepExec' is not served", hint="put the steps into one script")
    if not image:
        return ""
    if not _IMAGE.fullmatch(image):
        raise Refused(f"container_name {image[:80]!r} names no image", hint="e.g. docker://alpine:3.20, without blanks")
    if given.values.get("buildSpec") or given.text("transPath", ""):
        raise Refused("container_name goes with prun's own program only", hint="leave out buildSpec and transPath")
    return image


def _are_usual(steps: object) -> bool:
    """Whether these are prun's own: its program before and after, the command between them in the image."""
    if not isinstance(steps, Mapping):
        return False
    programs = [one.get("command") if isinstance(one, Mapping) else None for one in map(steps.get, _AROUND)]
    options = steps.get("containerOptions")
    plain = not isinstance(options, Mapping) or not options.get("execArgs")
    return set(steps) <= {*_AROUND, "containerOptions"} and programs == ["${TRF}", "${TRF}"] and plain


def _program(given: Given, programs: str) -> str:
    name = given.text("transPath", "") or f"{programs}runGen"
    if "://" in name and not (programs and name.startswith(programs)):
        raise Refused(f"transPath {name!r} is not ours", hint="a program of a release, or none: prun's own is served")
    return name


def _with_build(request: TaskRequest, spec: object, given: Given, programs: str) -> TaskRequest:
    """Add the task that makes the library, and the library as a stream of which every job takes the one file."""
    if not isinstance(spec, Mapping):
        raise BadRequest(f"task_parameters key 'buildSpec' is {kind_of(spec)}", hint="it must be an object")
    one = Given(spec)
    library = OutputSpec("lib", f"{bare_name(request.name)}.lib", f"{bare_name(request.name)}.lib._${{SN}}.tgz")
    logs = f"{bare_name(request.name)}.lib.log"
    words = one.text("jobParameters").replace("${IN}", one.text("archiveName")).replace("${OUT}", "${OUTPUT0}")
    build = replace(
        request,
        name=f"{bare_name(request.name)}.build",
        transformation=f"{programs}buildGen",
        parameters=words.strip().replace("${SURL}", given.text("sourceURL", "${SURL}")),
        outputs=(library, OutputSpec("log", logs, f"{logs}._${{SN}}.tgz", kind="log")),
        inputs=(),
        split=Split(n_jobs=1),
        label=one.text("prodSourceLabel", "panda"),
        task_type=BUILD,
        resources=replace(request.resources, cores=1, work_hs23_s=0),
        wire_parameters=None,
    )
    return replace(
        request, inputs=(*request.inputs, InputSpec(LIBRARY, (library.dataset,), "secondary", 1)), build=build
    )


@dataclass(frozen=True, slots=True)
class _Item:
    """One element of `jobParameters`: a constant text, or a template that stands for files."""

    kind: str
    value: str
    file_kind: str
    dataset: str
    hidden: bool
    padded: bool
    ratio: int | None
    optional: bool = False
    selection: Selection = EVERY_FILE


def _items(given: Given) -> list[_Item]:
    raw = given.values.get("jobParameters")
    if not isinstance(raw, Sequence) or isinstance(raw, str):
        raise BadRequest("task_parameters lacks 'jobParameters'", hint="a list of constants and templates")
    items = [_item(one, f"jobParameters[{place}]") for place, one in enumerate(raw)]
    log = given.values.get("log")
    if log is not None:
        items.append(_item(log, "log"))
    return items


def _item(raw: object, where: str) -> _Item:
    if not isinstance(raw, Mapping):
        raise BadRequest(f"task_parameters {where} is {kind_of(raw)}", hint="it must be an object with type and value")
    one = Given(raw)
    kind = one.text("type")
    if kind not in {"constant", "template"}:
        raise BadRequest(f"task_parameters {where} has type {kind!r}", hint="'constant' or 'template'")
    return _Item(
        kind=kind,
        value=_counted(one),
        file_kind=one.text("param_type", "") if kind == "template" else "",
        dataset=one.text("dataset", "") if kind == "template" else "",
        hidden=one.flag("hidden"),
        padded=raw.get("padding") not in (False, "False", "false"),
        ratio=one.whole("ratio") or one.whole("nFilesPerJob"),
        optional=one.flag("allowNoOutput"),
        selection=_selection(one) if one.text("param_type", "") == "input" else EVERY_FILE,
    )


def _selection(item: Given) -> Selection:
    """Which files of its dataset an input takes: `--match`, `--antiMatch`, `--inputFileList` and `--nSkipFiles`."""
    patterns = {key: tuple(filter(None, item.text(key, "").split(","))) for key in ("include", "exclude")}
    return Selection(
        include=patterns["include"],
        exclude=tuple(one for one in patterns["exclude"] if one != _USUAL_EXCLUDE),
        files=_names(item, "files"),
        skip=item.whole("offset") or 0,
    )


def _counted(item: Given) -> str:
    """Write the offset of a number (`%RNDM:100` of prun, `%FIRSTEVENT:100`) into its placeholder."""
    value, offset = item.text("value"), item.whole("offset")
    if offset and item.text("param_type", "") in _NUMBERS:
        value = re.sub(r"\$\{(SEQNUMBER|FIRSTEVENT)\}", rf"${{\1/{offset}}}", value)
    return value


def _outputs(items: Sequence[_Item], given: Given) -> tuple[OutputSpec, ...]:
    """The outputs in the order given, the log last, so that `${OUTPUT0}` is the first real output."""
    optional = given.flag("allowEmptyOutput")
    found = [one for one in items if one.file_kind == "output"] + [one for one in items if one.file_kind == "log"]
    return tuple(
        OutputSpec(
            name="log" if one.file_kind == "log" else f"output{place}",
            dataset=_dataset(one),
            lfn=_file_template(one.value),
            kind=one.file_kind,
            optional=(optional or one.optional) and one.file_kind != "log",
        )
        for place, one in enumerate(found)
    )


def _dataset(item: _Item) -> str:
    if not item.dataset:
        raise BadRequest(f"the {item.file_kind} template {item.value!r} names no dataset", hint="add its 'dataset'")
    return item.dataset.rstrip("/") if ":" in item.dataset else bare_name(item.dataset)


def _file_template(value: str) -> str:
    """The LFN in a template such as `--outputHITSFile=HITS.$JEDITASKID._${SN}.pool.root`."""
    return re.split(r"[=\s]", value.strip())[-1].strip("\"'")


def _inputs(items: Sequence[_Item], given: Given) -> tuple[InputSpec, ...]:
    streams: list[InputSpec] = []
    for item in (one for one in items if one.file_kind == "input"):
        placeholder = _STREAM.search(item.value)
        name = placeholder.group(1) if placeholder else f"{_PRIMARY}{len(streams) + 1}"
        primary = not streams
        streams.append(
            InputSpec(
                stream=name,
                datasets=tuple(one.strip() for one in _dataset(item).split(",")),
                role="primary" if primary else "secondary",
                files_per_job=given.whole("nFilesPerJob") if primary else item.ratio or 1,
                selection=item.selection,
            )
        )
    if not streams:
        for_in = given.text("dsForIN", "")
        if for_in:
            return (InputSpec(_PRIMARY, tuple(bare_name(one.strip()) for one in for_in.split(","))),)
    return tuple(streams)


def _job_parameters(
    items: Sequence[_Item], outputs: Sequence[OutputSpec], inputs: Sequence[InputSpec], source_url: str
) -> str:
    """Join the visible items, with a blank between unless one says otherwise; files become placeholders of ours."""
    text = ""
    for item in items:
        if item.hidden or item.value == "__delimiter__" or item.file_kind == "log":
            continue
        text += item.value + (" " if item.padded else "")
    text = text.strip().replace("${SURL}", source_url or "${SURL}").replace("${LIB}", "${IN/LIB}")
    # The longest first: one template may be the beginning of another.
    for place, output in sorted(enumerate(outputs), key=lambda one: -len(one[1].lfn)):
        text = text.replace(output.lfn, f"${{OUTPUT{place}}}")
    for stream in inputs:
        if stream.stream != _PRIMARY:
            text = re.sub(rf"\$\{{{re.escape(stream.stream)}(/T)?\}}", rf"${{IN/{stream.stream}\1}}", text)
    return text


def _split(given: Given, *, has_input: bool) -> Split:
    events, per_job = given.whole("nEvents"), given.whole("nEventsPerJob")
    if not has_input and events and not per_job:
        per_job = events
    gigabytes = given.number("nGBPerJob") if given.values.get("nGBPerJob") != "MAX" else None
    return Split(
        events_per_job=per_job,
        files_per_job=given.whole("nFilesPerJob"),
        bytes_per_job=int(gigabytes * GIGABYTE) if gigabytes else None,
        n_events=None if has_input else events,
        max_files=given.whole("nFiles") if has_input else None,
    )


def _resources(given: Given) -> Resources:
    cores = given.whole("coreCount") or 1
    memory = given.number("ramCount") or 0
    if given.text("ramUnit", given.text("ramCountUnit", "MBPerCore")).startswith("MBPerCore"):
        memory *= cores
    events = given.number("nEventsPerJob") or 1
    work = given.number("cpuTime") or 0
    per_event = "PerEvent" in given.text("cpuTimeUnit", "HS06sPerEvent")
    hours = given.number("maxWalltime") or 0
    return Resources(
        cores=cores,
        memory_mb=int(memory),
        disk_mb=int((given.number("workDiskCount") or 0) + _megabytes(given, "outDiskCount", "outDiskUnit")),
        work_hs23_s=int(work * events if per_event else work),
        wall_s=given.whole("walltime") or int(hours * 3600),
    )


def _megabytes(given: Given, key: str, unit: str) -> float:
    number = given.number(key) or 0
    return number / 1024 if given.text(unit, "MB").startswith("kB") else number


def _sites(given: Given) -> tuple[str | None, tuple[str, ...]]:
    """The one site that is asked for, or the several that are; `site` wins, as with PanDA."""
    asked = [one for one in _names(given, "site") if one != "AUTO"] or _names(given, "includedSite")
    return (asked[0], ()) if len(asked) == 1 else (None, tuple(asked))


def _names(given: Given, key: str) -> tuple[str, ...]:
    """A list of names, as a list or as text with commas."""
    value = given.values.get(key)
    listed = value.split(",") if isinstance(value, str) else [] if value is None else value
    if not isinstance(listed, Sequence) or not all(isinstance(one, str) for one in listed):
        raise BadRequest(f"task_parameters key {key!r} is {kind_of(value)}", hint="it must be a list of names")
    return tuple(stripped for one in listed if (stripped := one.strip()))
