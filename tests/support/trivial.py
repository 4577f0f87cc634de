"""Owns what the trivial release of the end-to-end tests has to write, worked out without running it, and its tasks."""

import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import text

from panda.domain.work import InputSpec, OutputSpec, Resources, Split, TaskRequest
from panda.services.context import Context

SEED = 2009


def made(ordinal: int, seed: int = SEED) -> bytes:
    """What `make` writes for an ordinal (from 0): ten steps of a linear congruential generator."""
    number = seed + ordinal + 1
    lines = [f"seed {number}"]
    for _ in range(10):
        number = (number * 1103515245 + 12345) % 2147483648
        lines.append(str(number))
    return "".join(f"{line}\n" for line in lines).encode()


def joined(inputs: Sequence[bytes]) -> bytes:
    """What `join` writes for these inputs."""
    return b"".join(b"part\n" + one for one in inputs)


def adler32(content: bytes) -> str:
    """The checksum as the catalogues write it."""
    return f"{zlib.adler32(content):08x}"


def sums_of_making(n_jobs: int) -> dict[int, str]:
    """The checksum of each ordinal of a `make` task in which nothing fails."""
    return {ordinal: adler32(made(ordinal)) for ordinal in range(n_jobs)}


def sums_of_joining(n_inputs: int, files_per_job: int) -> dict[int, str]:
    """The checksum of each ordinal of a `join` task that reads such a `make` task."""
    starts = range(0, n_inputs, files_per_job)
    return {
        ordinal: adler32(joined([made(one) for one in range(start, min(start + files_per_job, n_inputs))]))
        for ordinal, start in enumerate(starts)
    }


def sums_in_catalogue(ctx: Context, task_id: int) -> list[tuple[int, str]]:
    """Ordinal and checksum of every file in a task's closed output datasets, logs left out, by ordinal.

    Raises AssertionError if a dataset is open.
    """
    query = text("""
        SELECT d.state, j.ordinal, o.adler32 FROM dataset d
        LEFT JOIN job_output o ON o.dataset_id = d.id AND o.state = 'attached' LEFT JOIN job j ON j.id = o.job_id
        WHERE d.task_id = :task AND d.kind = 'output' ORDER BY j.ordinal, j.attempt
    """)
    with ctx.engine.connect() as connection:
        rows = connection.execute(query, {"task": task_id}).all()
    assert {row.state for row in rows} == {"closed"}
    return [(row.ordinal, row.adler32) for row in rows if row.ordinal is not None]


def a_making(name: str, n_jobs: int, options: str = "", **changes: Any) -> TaskRequest:
    """A task without input; `options` go to `make`."""
    request = TaskRequest(
        name=f"test.{name}",
        transformation="make",
        parameters=f"--serial ${{SN}} --seed ${{SEED}} --output ${{OUTPUT0}} {options}".rstrip(),
        outputs=(
            OutputSpec("OUT", f"test.{name}.OUT", f"{name}._${{SN}}.txt"),
            OutputSpec("LOG", f"test.{name}.log", f"{name}.log._${{SN}}.tgz", kind="log"),
        ),
        split=Split(n_jobs=n_jobs),
        release="Trivial-1.0",
        task_type="evgen",
        processing_type="evgen",
        priority=600,
        resources=Resources(memory_mb=200, disk_mb=50, wall_s=120),
        bunch_size=2,
        max_attempts=5,
        seed=SEED,
    )
    return replace(request, **changes)


def a_joining(name: str, of: TaskRequest, files_per_job: int, options: str = "", **changes: Any) -> TaskRequest:
    """A task that reads another one's outputs; `options` go to `join`."""
    return a_making(
        name,
        1,
        transformation="join",
        parameters=f"--input ${{IN}} --output ${{OUTPUT0}} {options}".rstrip(),
        inputs=(InputSpec("IN", (of.outputs[0].dataset,)),),
        split=Split(files_per_job=files_per_job),
        task_type="merge",
        processing_type="merge",
        **changes,
    )
