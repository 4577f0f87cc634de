"""Which commands reach pilots: those that look at a job's folder and processes, none that does more."""

import pytest

from panda.domain.pilotcommand import debug_command
from panda.errors import BadRequest


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("debug", "debug"),
        ("  tail   pilotlog.txt\n", "tail pilotlog.txt"),
        ("tail workdir/tmp.stdout*", "tail workdir/tmp.stdout*"),
        ("ls -ltr .", "ls -ltr ."),
        ("du -sk", "du -sk"),
        ("ps -ef", "ps -ef"),
        ("ps axo pid,ppid,pgid,args", "ps axo pid,ppid,pgid,args"),
        ("gdb --pid % -ex 'generate-core-file'", "gdb --pid % -ex 'generate-core-file'"),
        ("gdb -batch --pid 12 -ex 'thread apply all bt'", "gdb -batch --pid 12 -ex 'thread apply all bt'"),
    ],
)
def test_what_only_looks_goes_to_the_pilot(text: str, command: str) -> None:
    assert debug_command(text) == command


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "first word"),
        ("rm -rf x", "first word"),
        ("/bin/ls -l", "first word"),
        ("softkill", "first word"),
        ("tail", "one word alone"),
        ("ls tobekilled", "'tobekilled'"),
        ("tail debug,x", "'debug'"),
        ("ls -l " + "x" * 250, "250 characters"),
        *(
            (f"ls -l {bad}", "letters, digits")
            for bad in (";id", "&& id", "| sh", "$(id)", "`id`", "> x", "~", "\\x", "é")
        ),
        ("ls '", "only gdb"),
        ("ls %s", "only gdb"),
        *((f"tail {bad}", "relative") for bad in ("/etc/passwd", "../proxy.pem", "a/../../x", "--files0-from=/x")),
        *((f"ps {bad}", "'ps -ef'") for bad in ("axe", "auxeww", "E", "-o environ")),
        *((f"gdb {bad}", "gdb --pid %") for bad in ("x", "--pid 1 -ex 'shell id'", "--pid % -ex 'python 1'", "-x f")),
    ],
)
def test_what_could_do_more_is_refused_with_what_would_be_right(text: str, says: str) -> None:
    with pytest.raises(BadRequest, match=says) as refused:
        debug_command(text)
    assert "tail payload.stdout" in str(refused.value)
