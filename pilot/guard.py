"""The guard between pilot and payload: runs as its own small process, so that nothing of a payload outlives its pilot.

Start: `python -I -S guard.py CONTROL RESULT -- program arguments...` with two pipe ends. It becomes the reaper of all
orphans below it, starts the program in an own session, and at its end writes "end STATUS CPU MAXRSS" to RESULT. `t` on
CONTROL terminates the program's group, `k` kills all below. The pilot holds the other end of CONTROL: when the pilot
dies, even by kill -9, the end of file on it kills all as well. If the guard itself is killed, the kernel kills the
program (parent death signal) and the pilot, a reaper too, inherits and kills the rest.

It imports nothing but the standard library and knows nothing of jobs.
"""

import ctypes
import os
import resource
import select
import signal
import sys
import time
from contextlib import suppress

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LAST_WAIT_S = 30.0


def prctl(option: int, value: int) -> None:
    """Set one property of this process."""
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def parents() -> dict[int, int]:
    """Process number to parent's number, for every process that can be seen."""
    found: dict[int, int] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                descriptor = os.open(f"{entry.path}/stat", os.O_RDONLY)
                text = os.read(descriptor, 4096)
                os.close(descriptor)
            except OSError:
                continue
            found[int(entry.name)] = int(text[text.rindex(b")") + 2 :].split()[1])
    return found


def below(root: int) -> list[int]:
    """All processes below `root`."""
    parent_of = parents()
    family = {root}
    grown = True
    while grown:
        more = {pid for pid, parent in parent_of.items() if parent in family} - family
        family |= more
        grown = bool(more)
    return sorted(family - {root})


def start(argv: list[str], guard_pid: int) -> int:
    """Fork and exec the program in an own session; 127 with a line on stderr if it cannot be executed."""
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != guard_pid:
        os._exit(127)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execve(argv[0], argv, os.environ)  # noqa: S606 - the point: an argument list, never a shell
    except OSError as error:
        os.write(2, f"cannot execute {argv[0]}: {error}\n".encode())
    os._exit(127)


def kill_below() -> None:
    """Kill and reap everything below this process."""
    give_up = time.monotonic() + _LAST_WAIT_S
    while time.monotonic() < give_up:
        for pid in below(os.getpid()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        select.select([], [], [], 0.01)


def reap(program: int) -> int | None:
    """Collect every ended child; the program's wait status if it is among them."""
    status = None
    with suppress(ChildProcessError):
        while True:
            pid, code = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            if pid == program:
                status = code
    return status


def obey(order: bytes, program: int) -> None:
    """Carry out what the pilot wants; the end of file is an order to kill."""
    if order.startswith(b"t"):
        with suppress(ProcessLookupError):
            os.killpg(program, signal.SIGTERM)
    else:
        for pid in below(os.getpid()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def main() -> None:
    """Run the program until it ends or the pilot wants its end."""
    control, result = int(sys.argv[1]), int(sys.argv[2])
    for descriptor in (control, result):
        os.set_inheritable(descriptor, False)
    wake_reader, wake_writer = os.pipe()
    os.set_blocking(wake_writer, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_writer)
    prctl(_PR_SET_CHILD_SUBREAPER, 1)
    program = start(sys.argv[4:], os.getpid())
    watched = [control, wake_reader]
    status = None
    while status is None:
        ready, _, _ = select.select(watched, [], [])
        if wake_reader in ready:
            os.read(wake_reader, 4096)
            status = reap(program)
        if control in ready and status is None:
            order = os.read(control, 1)
            obey(order, program)
            if not order:
                watched = [wake_reader]
    kill_below()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    with suppress(BrokenPipeError):
        os.write(result, f"end {status} {used.ru_utime + used.ru_stime:.3f} {used.ru_maxrss}\n".encode())


if __name__ == "__main__":
    main()
