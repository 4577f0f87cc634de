"""What goes wrong without anybody being killed: an input that vanishes, a payload that never ends."""

import os
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from panda.ddm.port import DatasetSpec, Did, FileSpec
from panda.domain.names import file_path
from panda.domain.work import InputSpec, TaskRequest
from panda.services import read, submit
from tests.support.system import System, running_system
from tests.support.trivial import a_joining, a_making, adler32

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

LIMIT_S = 240.0
LOOPING = 1150
LOOPING_AFTER_S = 5


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """One system for all of them; whoever submits here does it without ProdDB."""
    impatient = {"PANDA_FACTORY__PILOT_OPTIONS": f"--looping-after {LOOPING_AFTER_S}"}
    with running_system(without=["worker", "deployments"], settings=impatient) as made:
        yield made


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Let a process stand still as long as the block runs."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def registered_input(system: System) -> Did:
    """A closed dataset of two files at the tier 1, as another system would have brought it."""
    dataset = Did("test", "test.input.to.vanish")
    root = system.settings.data_dir / "storage" / "ALPHA_DATADISK"
    files = []
    for number in range(2):
        did, content = Did("test", f"vanish._{number:06d}.txt"), f"input {number}\n".encode()
        place = root / file_path(did.scope, did.name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        files.append(FileSpec(did, len(content), adler32(content), str(uuid.uuid4())))
    ddm = system.ctx.ddm
    ddm.create_datasets([DatasetSpec(dataset)]).raise_first()
    ddm.register_replicas("ALPHA_DATADISK", files, dataset=dataset).raise_first()
    ddm.close([dataset]).raise_first()
    return dataset


def test_a_task_whose_input_vanished_after_submission_waits_and_says_so(system: System) -> None:
    dataset = registered_input(system)
    request: TaskRequest = replace(
        a_joining("late", a_making("any", 1), 1), inputs=(InputSpec("IN", (dataset.name,)),), name="test.late"
    )
    with stopped(system.pid("conductor")):
        task = submit.submit_task(system.ctx, request, "test")
        system.ctx.ddm.erase([dataset]).raise_first()

    def waits() -> str | None:
        words = read.task(system.ctx, task).waits_for
        return words if words and words.startswith("AwaitingInput") else None

    assert dataset.name in system.until(waits, LIMIT_S, "the task to say that its input is missing")
    assert read.task(system.ctx, task).jobs == {}


def test_a_payload_that_hangs_is_ended_and_fails_with_code_and_text(system: System) -> None:
    task = submit.submit_task(system.ctx, a_making("hanging", 2, "--hanging 000001", max_attempts=2), "test")

    assert system.wait_for_ends([task], LIMIT_S) == ["finished"]

    attempts = read.attempts(system.ctx, task, 0)
    assert [one.status.value for one in attempts] == ["failed", "failed"]
    for one in attempts:
        [error] = [pair for pair in one.errors if pair.code == LOOPING]
        assert error.component == "pilot"
        assert f"allowed are {LOOPING_AFTER_S} s" in error.text
    assert [one.status.value for one in read.attempts(system.ctx, task, 1)] == ["finished"]
