"""The guard between pilot and payload: runs as its own small process, so that nothing of a payload outlives its pilot.

Start: `python -I -S guard.py CONTROL RESULT -- program arguments...` with two pipe ends. It becomes the reaper of all
orphans below it, starts the program in an own session, and at its end writes "end STATUS CPU MAXRSS" to RESULT. `t` on
CONTROL terminates the program's group, `k` kills all below. The pilot holds the other end of CONTROL: when the pilot
dies, even by kill -9, the end of file on it kills all as well. If the guard itself is killed, the kernel kills the
program (parent death signal) and the pilot, a reaper too, inherits and kills the rest.

Every job pays its start-up, so it imports as little as can be (not even `signal`), and it knows nothing of jobs.
"""

import ctypes
import os
import select
import sys
import time

_SIGKILL, _SIGPIPE, _SIGTERM, _SIGXFSZ = 9, 13, 15, 25
_DEFAULT_ACTION = None
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_REAP_INTERVAL_S = 5.0
_POLL_INTERVAL_S = 0.02
_LAST_WAIT_S = 30.0
_LIBC = ctypes.CDLL(None)


class Harvest:
    """What the ended children have used, and the program's wait status once it is among them."""

    def __init__(self, program: int) -> None:
        self.program = program
        self.status: int | None = None
        self.cpu_s = 0.0
        self.max_rss_kb = 0

    def reap(self) -> bool:
        """Collect every ended child; False if there are no children left at all."""
        while True:
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if not pid:
                return True
            self.cpu_s += used.ru_utime + used.ru_stime
            self.max_rss_kb = max(self.max_rss_kb, used.ru_maxrss)
            if pid == self.program:
                self.status = status


def below(root: int) -> list[int]:
    """All processes below `root`."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                descriptor = os.open(f"{entry.path}/stat", os.O_RDONLY)
                text = os.read(descriptor, 4096)
                os.close(descriptor)
            except OSError:
                continue
            parent = int(text[text.rindex(b")") + 2 :].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found[1:]


def kill_below() -> None:
    """Kill everything below this process, as it is now."""
    for pid in below(os.getpid()):
        try:
            os.kill(pid, _SIGKILL)
        except ProcessLookupError:
            continue


def start(argv: list[str], guard: int) -> int:
    """Fork and exec the program in an own session; 127 with a line on stderr if it cannot be executed."""
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    _LIBC.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    if os.getppid() != guard:
        os._exit(127)
    for number in (_SIGPIPE, _SIGXFSZ):  # Python ignores these two; a payload must not inherit that
        _LIBC.signal(number, _DEFAULT_ACTION)
    try:
        os.execve(argv[0], argv, os.environ)  # noqa: S606 - the point: an argument list, never a shell
    except OSError as error:
        os.write(2, f"cannot execute {argv[0]}: {error}\n".encode())
    os._exit(127)


def obey(order: bytes, program: int) -> None:
    """Carry out what the pilot wants; the end of file is an order to kill."""
    if order == b"t":
        try:
            os.killpg(program, _SIGTERM)
        except ProcessLookupError:
            return
    else:
        kill_below()


def supervise(control: int, program: int) -> Harvest:
    """Wait for the program's end, carrying out orders; then end whatever it has left running."""
    harvest = Harvest(program)
    watched = [control]
    pause = _REAP_INTERVAL_S
    try:
        watched.append(os.pidfd_open(program))
    except OSError:
        pause = _POLL_INTERVAL_S
    while harvest.status is None:
        ready, _, _ = select.select(watched, [], [], pause)
        harvest.reap()
        if control in ready and harvest.status is None:
            order = os.read(control, 1)
            obey(order, program)
            if not order:
                watched.remove(control)
    give_up = time.monotonic() + _LAST_WAIT_S
    while harvest.reap() and time.monotonic() < give_up:
        kill_below()
        select.select([], [], [], _POLL_INTERVAL_S / 4)
    return harvest


def main() -> None:
    """Run the program until it ends or the pilot wants its end."""
    control, result = int(sys.argv[1]), int(sys.argv[2])
    for descriptor in (control, result):
        os.set_inheritable(descriptor, False)
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    harvest = supervise(control, start(sys.argv[4:], os.getpid()))
    try:
        os.write(result, f"end {harvest.status} {harvest.cpu_s:.3f} {harvest.max_rss_kb}\n".encode())
    except BrokenPipeError:
        return


if __name__ == "__main__":
    main()
    os._exit(0)
