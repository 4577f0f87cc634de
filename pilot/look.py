"""What a pilot looks at while its job runs, as the server asks in debug mode: the payload's output, or a program's."""

import shlex
import subprocess
from pathlib import Path

from pilot.folder import tail

SIZE = 2048
"""Bytes of the end that are sent."""

PATIENCE_S = 10.0
_PROGRAMS = frozenset({"ls", "du", "ps"})


def seen(command: str, folder: Path) -> str:
    """The end of what a command shows in a job's folder; of `debug`, and of what is none here, the payload's output.

    `tail FILE` is the end of the newest file of that name or pattern. No shell sees the command: patterns are filled in
    here, and nothing waits longer than ten seconds.
    """
    words = _words(command)
    if words[:1] == ["tail"] and len(words) > 1:
        found = _matching(words[-1], folder)
        return tail(max(found, key=_changed), SIZE) if found else ""
    if words and words[0] in _PROGRAMS:
        return _output([words[0], *(name for word in words[1:] for name in _filled(word, folder))], folder)
    return tail(folder / "payload.stdout", SIZE)


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return []


def _matching(pattern: str, folder: Path) -> list[Path]:
    """The files that lie in the folder under this name or pattern; those elsewhere are left out."""
    if pattern.startswith("/"):
        return []
    root = folder.resolve()
    return [one for one in folder.glob(pattern) if one.resolve().is_relative_to(root)]


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _filled(word: str, folder: Path) -> list[str]:
    if not {"*", "?"} & set(word):
        return [word]
    return sorted(str(one.relative_to(folder)) for one in _matching(word, folder)) or [word]


def _output(words: list[str], folder: Path) -> str:
    try:
        done = subprocess.run(
            words, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=PATIENCE_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{words[0]}: {error}"
    return done.stdout[-SIZE:].decode(errors="replace")
