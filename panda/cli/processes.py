"""Owns the supervisor: starts the parts of a system as processes, restarts what dies, ends everything in order.

It knows nothing of what the parts do; `panda.cli.parts` says which there are.
"""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from panda.cli.ports import is_port_free
from panda.cli.runs import MARKER, RunFile, end_all, left_behind
from panda.embedded import EmbeddedCluster
from panda.errors import BadSettings, PandaError, Unavailable
from panda.settings import Settings

TICK_S = 0.05
FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 30.0
GOOD_RUN_S = 60.0  # after that long a run, the next death counts as the first
STEP_TRIES = 3
LARGEST_LOG = 20_000_000


class State(StrEnum):
    """What a part is doing."""

    WAITING = "waiting"
    STARTING = "starting"
    UP = "up"
    DONE = "done"
    RESTARTING = "restarting"
    FAILED = "failed"
    STOPPED = "stopped"


class Wave(StrEnum):
    """When a part is ended: first those that use others, then servers, last the database."""

    USER = "user"
    SERVER = "server"
    DATABASE = "database"


@dataclass(frozen=True, slots=True)
class Part:
    """One process of the system: how it is started, how one sees that it is up, and when it is ended."""

    name: str
    command: tuple[str, ...] = ()
    after: tuple[str, ...] = ()  # parts that must be up (steps: done) before this one starts
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    probe: Callable[[], bool] | None = None  # asked until it says True
    says: str = ""  # what its log says once it is up; with neither, a part is up when it runs
    prepare: Callable[[], Mapping[str, str]] | None = None  # called just before each start; more environment
    succeeded: Callable[[], None] | None = None  # called once it is up (steps: done)
    step: bool = False  # ends by itself; must end with 0
    wave: Wave = Wave.USER
    grace_s: float = 15.0
    address: str = ""
    ports: Mapping[str, int] = field(default_factory=dict)  # setting -> port it will listen on
    cluster: EmbeddedCluster | None = None  # instead of a command


@dataclass(frozen=True, slots=True)
class Event:
    """A change of a part's state, with a sentence for people."""

    part: str
    state: State
    text: str


class Member:
    """One part while it is supervised."""

    def __init__(self, part: Part, log: Path) -> None:
        self.part = part
        self.log = log
        self.state = State.WAITING
        self.process: subprocess.Popen[bytes] | None = None
        self.failures = 0
        self.began = 0.0
        self.not_before = 0.0
        self.text = ""
        self.log_begins = 0

    def launch(self, environment: Mapping[str, str]) -> None:
        """Start the process; raises OSError or PandaError if that is impossible."""
        prepared = self.part.prepare() if self.part.prepare is not None else {}
        self.began = time.monotonic()
        if self.part.cluster is not None:
            self.part.cluster.stop()
            self.part.cluster.start()
            self.process = self.part.cluster.process
            return
        with self.log.open("ab") as log:
            self.log_begins = log.tell()
            self.process = subprocess.Popen(
                self.part.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.part.folder,
                env={**environment, **self.part.environment, **prepared},
                start_new_session=True,  # a Ctrl-C of the terminal reaches only the supervisor, which keeps the order
            )

    def end(self) -> None:
        """Ask the process to end."""
        if self.part.cluster is not None:
            self.part.cluster.stop()
        elif self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def is_up(self) -> bool:
        """Whether its probe agrees, and its log says since the start what it says when it is up."""
        if self.part.probe is not None and not self.part.probe():
            return False
        if not self.part.says:
            return True
        with self.log.open("rb") as log:
            log.seek(self.log_begins)
            return self.part.says.encode() in log.read()

    def last_words(self) -> str:
        """The last line of its log that says something."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, self.log.stat().st_size - 4096))
                lines = [line.strip() for line in log.read().decode(errors="replace").splitlines()]
        except FileNotFoundError:
            return ""
        return next((line for line in reversed(lines) if line), "")


class Supervisor:
    """Runs `parts` for the settings' data folder from `start` to `stop`; one at a time per folder."""

    def __init__(
        self,
        settings: Settings,
        parts: Sequence[Part],
        *,
        environment: Mapping[str, str] | None = None,
        chosen: Mapping[str, str] | None = None,
        report: Callable[[Event], None] = lambda _: None,
    ) -> None:
        """Take the whole `environment` of the processes (default: ours) and the settings `chosen` for this run only."""
        self.settings = settings
        self.run_file = RunFile(settings.data_dir)
        self.members = {part.name: Member(part, settings.logs / f"{part.name}.log") for part in parts}
        self._environment = {**(os.environ if environment is None else environment), MARKER: str(settings.data_dir)}
        self._chosen = dict(chosen or {})
        self._report = report
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._hurry = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def __enter__(self) -> Self:
        """Start everything."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop everything."""
        self.stop()

    def start(self) -> None:
        """Clean up after a killed run and begin to start the parts; returns at once, see `wait_until_up`.

        Raises Conflict if another run has the folder, BadSettings if a port is taken.
        """
        self.run_file.claim()
        try:
            ended = end_all(left_behind(self.settings.data_dir, self.run_file.traces()))
            if ended:
                self._report(
                    Event("", State.STOPPED, f"ended {len(ended)} processes that a killed run had left behind")
                )
            self.settings.logs.mkdir(parents=True, exist_ok=True)
            for member in self.members.values():
                _check_ports(self.settings.host, member.part)
                _turn_over(member.log)
        except BaseException:
            self.run_file.release()
            raise
        self._thread.start()

    def stop(self) -> None:
        """End all parts, users first, servers then, the database last; nothing is left when it returns."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        for wave in Wave:
            self._end_wave(wave)
        if self._thread.ident is not None:
            end_all(left_behind(self.settings.data_dir, self.run_file.traces()))
            self.run_file.release()

    def hurry(self) -> None:
        """Let a `stop` that is under way wait for nobody any more."""
        self._hurry.set()

    def wait_until_up(self, timeout_s: float, names: Iterable[str] | None = None) -> None:
        """Return when these parts (default: all) are up or done; raises Unavailable saying which is not, and why."""
        wanted = [self.members[name] for name in names] if names is not None else list(self.members.values())
        good = {State.UP, State.DONE}
        with self._changed:
            self._changed.wait_for(
                lambda: all(one.state in good for one in wanted) or any(one.state is State.FAILED for one in wanted),
                timeout_s,
            )
            missing = [one for one in wanted if one.state not in good]
        if missing:
            says = "; ".join(f"{one.part.name} is {one.state} ({one.text or one.last_words()})" for one in missing)
            raise Unavailable(f"Not everything came up within {timeout_s:g} s: {says}.", f"See {self.settings.logs}.")

    def pids(self) -> dict[str, int]:
        """The processes that run now."""
        members = list(self.members.values())
        running = [one for one in members if one.process is not None and one.process.poll() is None]
        return {one.part.name: one.process.pid for one in running if one.process is not None}

    def states(self) -> dict[str, State]:
        """What each part is doing."""
        return {name: member.state for name, member in self.members.items()}

    def _watch(self) -> None:
        while not self._stopping.wait(TICK_S):
            for member in self.members.values():
                if not self._stopping.is_set():
                    self._step(member)

    def _step(self, member: Member) -> None:
        match member.state:
            case State.WAITING | State.RESTARTING:
                if time.monotonic() >= member.not_before and all(self._is_there(name) for name in member.part.after):
                    self._launch(member)
            case State.STARTING:
                if not self._died(member) and not member.part.step and member.is_up():
                    self._succeeded(member, State.UP)
            case State.UP:
                self._died(member)
            case State.DONE | State.FAILED | State.STOPPED:
                pass

    def _is_there(self, name: str) -> bool:
        return name not in self.members or self.members[name].state in {State.UP, State.DONE}

    def _launch(self, member: Member) -> None:
        try:
            member.launch(self._environment)
        except (OSError, PandaError) as error:
            self._failed(member, str(error))
            return
        written = {name: pid for name, pid in self.pids().items() if self.members[name].part.cluster is None}
        self.run_file.write(written, self._chosen)  # a cluster keeps its own record
        self._change(member, State.STARTING, "")

    def _died(self, member: Member) -> bool:
        code = member.process.poll() if member.process is not None else 0
        if code is None:
            return False
        if code == 0 and member.part.step:
            self._succeeded(member, State.DONE)
        else:
            how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
            self._failed(member, f"{how}: {member.last_words()}")
        return True

    def _succeeded(self, member: Member, state: State) -> None:
        if member.part.succeeded is not None:
            member.part.succeeded()
        self._change(member, state, member.part.address)

    def _failed(self, member: Member, why: str) -> None:
        member.failures = 1 if time.monotonic() - member.began > GOOD_RUN_S else member.failures + 1
        if member.part.step and member.failures >= STEP_TRIES:
            self._change(member, State.FAILED, why)
            return
        delay = min(FIRST_DELAY_S * 2 ** (member.failures - 1), LONGEST_DELAY_S)
        member.not_before = time.monotonic() + delay
        self._change(member, State.RESTARTING, f"{why}; again in {delay:g} s")

    def _change(self, member: Member, state: State, text: str) -> None:
        with self._changed:
            member.state, member.text = state, text
            self._changed.notify_all()
        self._report(Event(member.part.name, state, text))

    def _end_wave(self, wave: Wave) -> None:
        members = [one for one in self.members.values() if one.part.wave is wave and one.process is not None]
        for member in members:
            member.end()
        deadline = time.monotonic() + max((one.part.grace_s for one in members), default=0.0)
        for member in members:
            self._wait_for_end(member, deadline)
            if not member.part.step:
                self._change(member, State.STOPPED, "")

    def _wait_for_end(self, member: Member, deadline: float) -> None:
        process = member.process
        while process is not None and process.poll() is None:
            if self._hurry.is_set() or time.monotonic() > deadline:
                process.kill()
                process.wait()
            else:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=TICK_S)


def _check_ports(host: str, part: Part) -> None:
    for setting, port in part.ports.items():
        if not is_port_free(host, port):
            raise BadSettings(
                f"{setting}={port} is taken by another program, so {part.name} cannot listen there.",
                f"Stop that program, or set {setting} to a free port; 0 finds one.",
            )


def _turn_over(log: Path) -> None:
    """Keep a log that became large as the one before."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > LARGEST_LOG:
            log.replace(log.with_suffix(".log.1"))
