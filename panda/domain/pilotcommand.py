"""Commands to the pilot of a running job: what pilots obey (wire-protocol.md 4.3), and what may be asked of them.

panda-server passes any 250 characters on. A stock pilot runs a line whose first word it knows by a shell, as the user
whom it works as, in reach of its own credential. Here a line may only look at what lies in the job's folder and at
processes.
"""

import re

from panda.errors import BadRequest

KILL, DEBUG, DEBUG_OFF = "tobekilled", "debug", "debugoff"
PROGRAMS = ("tail", "ls", "du", "ps", "gdb")
LIMIT = 250
"""Characters of a command, as panda-server counts them (JobSpec.commandToPilot)."""

_PLAIN = re.compile(r"[A-Za-z0-9 _./*?:=,+@%'-]+")
_GDB = re.compile(
    r"gdb( -batch)? --pid (\d{1,9}|%)( -ex '(generate-core-file|bt|info threads|thread apply all bt)')+( -batch)?"
)
_ENVIRONMENT = re.compile(r"environ|(?<![-\w,])[A-DF-Za-df-z]*[eE][A-Za-z]*(?![\w,])")
"""What has `ps` show environments, where credentials stand: `e` among the letters that have no dash."""


def debug_command(text: str) -> str:
    """The command as it goes to the pilot: `debug`, or one line of tail, ls, du, ps or gdb. Raises BadRequest."""
    command = " ".join(text.split())
    if command == DEBUG:
        return command
    why = _wrong(command)
    if why is not None:
        hint = "such as 'debug', 'tail payload.stdout', 'ls -l', 'ps -ef'"
        raise BadRequest(f"command {text[:80]!r}: {why}", hint=hint)
    return command


def _wrong(command: str) -> str | None:
    program, _, arguments = command.partition(" ")
    if program not in PROGRAMS:
        return f"its first word is none of {', '.join(PROGRAMS)}"
    if not arguments:
        return "pilots take one word alone for another kind of order"
    if len(command) > LIMIT:
        return f"it has more than {LIMIT} characters"
    if KILL in command or ("," in command and DEBUG in command):
        return f"pilots read {KILL!r} and {DEBUG!r} in it as orders of their own"
    if not _PLAIN.fullmatch(command):
        return "it may have letters, digits, blanks and _ . / * ? : = , + @ % ' - only"
    return _wrong_of_gdb(command) if program == "gdb" else _wrong_arguments(program, arguments)


def _wrong_of_gdb(command: str) -> str | None:
    return None if _GDB.fullmatch(command) else "gdb is run as: gdb --pid % -ex 'generate-core-file', or 'bt'"


def _wrong_arguments(program: str, arguments: str) -> str | None:
    if "'" in arguments or "%" in arguments:
        return "only gdb's commands have ' and %"
    if any(_leads_out(word) for word in arguments.split()):
        return "paths are relative to the job's folder and do not lead out of it"
    if program == "ps" and _ENVIRONMENT.search(arguments):
        return "environments of processes are not shown; write 'ps -ef'"
    return None


def _leads_out(word: str) -> bool:
    return word.startswith("/") or "=/" in word or ".." in word
