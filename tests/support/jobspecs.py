"""Owns job specs as `Client.submitJobs` of panda-client 2.2.0 writes them, made without the client."""

import json
from collections.abc import Sequence

from panda.domain.specform import ATTRIBUTES, FILE_ATTRIBUTES

State = list[object]


def a_file(kind: str, lfn: str, dataset: str, **attributes: object) -> State:
    """A FileSpec: what it names, NULL elsewhere, and no owner."""
    given = {"type": kind, "lfn": lfn, "dataset": dataset, **attributes}
    return [*(given.pop(name, "NULL") for name in FILE_ATTRIBUTES), None]


def a_spec(*files: State, **attributes: object) -> State:
    """A JobSpec: the attributes that are named, NULL elsewhere, then its files."""
    assert set(attributes) <= set(ATTRIBUTES)
    return [*(attributes.get(name, "NULL") for name in ATTRIBUTES), list(files)]


def an_evgen_spec(number: int, name: str = "spec", inputs: Sequence[State] = (), **attributes: object) -> State:
    """A production job with an output and a log of its own name; its parameters name the output."""
    output = f"{name}.first-{number}.root"
    return a_spec(
        *inputs,
        a_file("output", output, f"mc.{name}.EVNT"),
        a_file("log", f"{name}.log-{number}.tgz", f"mc.{name}.log"),
        **{"transformation": "evgen", "prodSourceLabel": "managed", "jobParameters": f"--number {number} -o {output}",
           "jobDefinitionID": 7, "jobName": f"{name}-{number}", "creationHost": "here",
           "stateChangeTime": {"_datetime_object": "2026-11-23 02:00:00.000000"}, **attributes},
    )  # fmt: skip


def sent(*specs: State) -> dict[str, str]:
    """The body of the client's call."""
    return {"jobs": json.dumps(specs)}
