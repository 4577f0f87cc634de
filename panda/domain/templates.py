"""Placeholders: a task's templates and a job's few numbers become parameters and file names (wire-protocol.md 7.2)."""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple, TypeAlias

_ESCAPED = {"$JEDITASKID": "${TASKID}", "$TASKID": "${TASKID}", "$ORDINAL": "${SN}"}
_PLACEHOLDER = re.compile(r"\$\{([A-Z]+)([0-9]*)(?:/([^}]*))?\}")
SERIAL_WIDTH = 6


class JobNumbers(NamedTuple):
    """The numbers that tell one job of a task from the next; `ordinal` counts from 0, `serial` from 1."""

    task_id: int
    job_id: int
    ordinal: int
    attempt: int
    first_event: int
    n_events: int
    skip_events: int
    seed: int
    inputs: dict[str, tuple[str, ...]]
    outputs: tuple[str, ...] = ()
    source_url: str = ""


def lfn_of(template: str, numbers: JobNumbers) -> str:
    """Give an output's LFN; a second or later attempt gets its number as suffix (domain.md 3, "lfn")."""
    name = fill(template, numbers)
    return name if numbers.attempt <= 1 else f"{name}.{numbers.attempt}"


def fill(template: str, numbers: JobNumbers) -> str:
    """Replace every placeholder of a template; an unknown one stays as it is (a payload may use the shell's own)."""
    return "".join([part if part.__class__ is str else part(numbers) for part in _parts(template)])  # type: ignore[operator]


def each(names: Iterable[str]) -> str:
    """Write the placeholder that stands for the first name in the first job, the second in the second, and so on."""
    return f"${{EACH/{','.join(names)}}}"


def samples(template: str) -> list[str]:
    """What a template gives in a first job; one that lists names gives each of them."""
    found = (match[3].count(",") + 1 for match in _PLACEHOLDER.finditer(template) if match[1] == "EACH" and match[3])
    first = JobNumbers(1, 1, 0, 1, 0, 0, 0, 0, {"IN": ("in",)}, ("out",))
    return [fill(template, first._replace(ordinal=ordinal)) for ordinal in range(max(found, default=1))]


def is_plain(template: str) -> bool:
    """Whether a text has no placeholder of ours, so that every job gets it as it stands."""
    return all(part.__class__ is str for part in _parts(template))


@lru_cache(maxsize=4096)
def names_outputs(template: str) -> bool:
    """Whether a template names the job's outputs, so that they have to be known when it is filled."""
    return "${OUT" in template


Part: TypeAlias = str | Callable[[JobNumbers], str]
"""Text as it stands, or what a placeholder stands for."""


@lru_cache(maxsize=4096)
def _parts(template: str) -> tuple[Part, ...]:
    """A template taken apart; all jobs of a task share theirs."""
    for old, new in _ESCAPED.items():
        template = template.replace(old, new)
    parts: list[Part] = []
    end = 0
    for match in _PLACEHOLDER.finditer(template):
        parts += [template[end : match.start()], _meaning(match[1], match[2], match[3], match[0])]
        end = match.end()
    return (*parts, template[end:])


_SIMPLE: Mapping[str, Callable[[JobNumbers], str]] = {
    "SN": lambda job: f"{job.ordinal + 1:0{SERIAL_WIDTH}d}",
    "TASKID": lambda job: str(job.task_id),
    "PANDAID": lambda job: str(job.job_id),
    "ORDINAL": lambda job: str(job.ordinal),
    "ATTEMPT": lambda job: str(job.attempt),
    "SEED": lambda job: str(job.seed + job.ordinal + 1),
    "NEVENTS": lambda job: str(job.n_events),
    "MAXEVENTS": lambda job: str(job.n_events),
    "SKIPEVENTS": lambda job: str(job.skip_events),
    "SURL": lambda job: job.source_url,
}


# Numbers that a client may shift: `${SEQNUMBER/100}` is 101 in the first job.
_SHIFTED: Mapping[str, Callable[[JobNumbers], int]] = {
    "FIRSTEVENT": lambda job: job.first_event,
    "SEQNUMBER": lambda job: job.ordinal + 1,
}


def _meaning(name: str, index: str, argument: str | None, text: str) -> Part:
    """What a placeholder stands for: worked out once for all jobs of a task."""
    shifted, simple = _SHIFTED.get(name), _SIMPLE.get(name)
    if shifted is not None:
        offset = int(argument) if argument and argument.isdecimal() else 0
        return lambda job: f"{shifted(job) + offset}{index}"
    if simple is not None:
        return simple if name == "SN" or not index else lambda job: simple(job) + index
    if name == "EACH":
        names = tuple((argument or "").split(","))
        return lambda job: names[job.ordinal] if job.ordinal < len(names) else text
    if name == "IN":
        return lambda job: _inputs(argument, job)
    if name in {"OUT", "OUTPUT"}:
        return lambda job: _outputs(index, job) if job.outputs else text
    return text


def _inputs(argument: str | None, numbers: JobNumbers) -> str:
    """`${IN}` is the first stream, `${IN/NAME}` another; `/T` at the end writes a list as Python does."""
    stream, _, form = (argument or "").rpartition("/") if argument not in {"T", "L"} else ("", "", argument)
    if form and form not in {"T", "L"}:
        stream, form = form, ""
    files = numbers.inputs.get(stream, ()) if stream else next(iter(numbers.inputs.values()), ())
    if form == "T":
        return "[" + ",".join(f"'{name}'" for name in files) + "]"
    return ",".join(files)


def _outputs(index: str, numbers: JobNumbers) -> str:
    if not index:
        return ",".join(numbers.outputs)
    place = int(index)
    return numbers.outputs[place] if place < len(numbers.outputs) else ""
