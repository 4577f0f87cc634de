"""Placeholders: a task's templates and a job's few numbers become parameters and file names (wire-protocol.md 7.2)."""

import re
from dataclasses import dataclass

_ESCAPED = {"$JEDITASKID": "${TASKID}", "$TASKID": "${TASKID}", "$ORDINAL": "${SN}"}
_PLACEHOLDER = re.compile(r"\$\{([A-Z]+)([0-9]*)(?:/([^}]*))?\}")
SERIAL_WIDTH = 6


@dataclass(frozen=True, slots=True)
class JobNumbers:
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
    for old, new in _ESCAPED.items():
        template = template.replace(old, new)
    return _PLACEHOLDER.sub(lambda match: _value(match, numbers), template)


def _value(match: re.Match[str], numbers: JobNumbers) -> str:
    name, index, argument = match.group(1), match.group(2), match.group(3)
    simple = {
        "SN": f"{numbers.ordinal + 1:0{SERIAL_WIDTH}d}",
        "TASKID": str(numbers.task_id),
        "PANDAID": str(numbers.job_id),
        "ORDINAL": str(numbers.ordinal),
        "ATTEMPT": str(numbers.attempt),
        "SEED": str(numbers.seed + numbers.ordinal + 1),
        "NEVENTS": str(numbers.n_events),
        "MAXEVENTS": str(numbers.n_events),
        "FIRSTEVENT": str(numbers.first_event),
        "SKIPEVENTS": str(numbers.skip_events),
        "SURL": numbers.source_url,
    }
    if name in simple:
        return simple[name] + (index if name != "SN" else "")
    if name == "IN":
        return _inputs(argument, numbers)
    if name in {"OUT", "OUTPUT"}:
        return _outputs(index, numbers) if numbers.outputs else match.group(0)
    return match.group(0)


def _inputs(stream: str | None, numbers: JobNumbers) -> str:
    if not stream or stream in {"T", "L"}:
        files = next(iter(numbers.inputs.values()), ())
    else:
        files = numbers.inputs.get(stream, ())
    if stream == "T":
        return "[" + ",".join(f"'{name}'" for name in files) + "]"
    return ",".join(files)


def _outputs(index: str, numbers: JobNumbers) -> str:
    if not index:
        return ",".join(numbers.outputs)
    place = int(index)
    return numbers.outputs[place] if place < len(numbers.outputs) else ""
