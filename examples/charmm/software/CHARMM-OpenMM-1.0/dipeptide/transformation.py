"""What every transformation does around its work: arguments, exit code, one sentence on failure, jobReport.json."""

import argparse
import contextlib
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from typing_extensions import override

# Exit codes, reported also as exeErrorCode; the numbers of BSD's sysexits.
BAD_ARGUMENT, BAD_DATA, NO_INPUT, SOFTWARE, IO_ERROR = 64, 65, 66, 70, 74

REPORT = "jobReport.json"
_LFN = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._:+\-]{0,249}")


class TransformationError(Exception):
    """A failure that one sentence explains to who sent the job; `code` becomes the exit code."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a transformation made: events handled, and the events in each output file by its LFN."""

    events: int
    outputs: dict[str, int]


class Arguments(argparse.ArgumentParser):
    """An argument parser whose complaints end in the job report like every other failure."""

    @override
    def error(self, message: str) -> NoReturn:
        raise TransformationError(BAD_ARGUMENT, f"{message}; see {self.prog} --help")


def run(parser: Arguments, work: Callable[[argparse.Namespace], Outcome], arguments: Sequence[str]) -> int:
    """Do `work` with the parsed arguments, write jobReport.json, return the exit code (0, or one named above)."""
    try:
        outcome = work(parser.parse_args(arguments))
        _report({"nEvents": outcome.events, "outputs": {lfn: {"events": n} for lfn, n in outcome.outputs.items()}})
    except TransformationError as failure:
        return _failed(parser.prog, failure.code, str(failure))
    except OSError as failure:
        return _failed(parser.prog, IO_ERROR, f"cannot read or write in the job's folder: {failure}")
    except Exception as failure:
        logging.getLogger(parser.prog).exception("unexpected failure")
        return _failed(parser.prog, SOFTWARE, f"unexpected {type(failure).__name__}: {failure}")
    return 0


def _failed(program: str, code: int, sentence: str) -> int:
    print(f"{program}: {sentence}", file=sys.stderr)
    with contextlib.suppress(OSError):  # a full disk must not hide the first sentence
        _report({"nEvents": 0, "outputs": {}, "exeErrorCode": code, "exeErrorDiag": sentence[:500]})
    return code


def _report(report: dict[str, object]) -> None:
    Path(REPORT).write_text(json.dumps({"exeErrorCode": 0, "exeErrorDiag": "", **report}, indent=1) + "\n")


def positive(text: str) -> int:
    """Parse a count of at least 1."""
    return _whole(text, 1, 10_000_000)


def seed(text: str) -> int:
    """Parse a random seed, 1 to 900,000,000: the range of Pythia's `Random:seed`."""
    return _whole(text, 1, 900_000_000)


def first_event(text: str) -> int:
    """Parse an event number, 0 to 10^15."""
    return _whole(text, 0, 10**15)


def _whole(text: str, low: int, high: int) -> int:
    if not re.fullmatch(r"[+-]?\d{1,18}", text) or not low <= int(text) <= high:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
    return int(text)


def output_name(text: str) -> str:
    """Parse the name of an output: an LFN, written into the job's folder."""
    if not _LFN.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a file name for an output: letters, digits and . _ : + - only, no folder, no '..'"
        )
    return text


def input_list(text: str) -> list[Path]:
    """Parse `a.root,b.root`: files that the pilot has put into the job's folder (or any path, when run by hand)."""
    paths = [Path(name) for name in text.split(",") if name]
    if not paths:
        raise argparse.ArgumentTypeError("no input file named; give a comma-separated list")
    return paths


def inputs_of(groups: Sequence[Sequence[Path]]) -> list[Path]:
    """Flatten `--input a,b c` to one list; a file named twice or absent is refused."""
    paths = [path for group in groups for path in group]
    for path in paths:
        if paths.count(path) > 1:
            raise TransformationError(BAD_ARGUMENT, f"input {path} is named twice")
        if not path.is_file():
            raise TransformationError(NO_INPUT, f"input {path} does not exist in {Path.cwd()}")
    return paths


@contextlib.contextmanager
def stdout_into(log: Path) -> Iterator[None]:
    """Send everything that is printed, by C++ code too, into a file for a while."""
    sys.stdout.flush()
    kept = os.dup(1)
    with log.open("ab") as sink:
        os.dup2(sink.fileno(), 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def replace_file(name: str, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    part = Path(f"{name}.part")
    part.write_bytes(content)
    part.replace(name)
