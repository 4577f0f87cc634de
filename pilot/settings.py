"""The pilot's settings: what its command line says, checked once."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PilotSettings:
    """One pilot's settings. Times in s, sizes in MB. Defaults: domain.md 1d."""

    server: str
    queue: str
    workdir: Path
    label: str = "managed"
    vo: str | None = None
    factory: str = ""
    worker_id: int | None = None
    batch_id: str = ""
    lifetime: float | None = None
    token_file: Path | None = None
    ca_file: Path | None = None
    state_file: Path | None = None
    patience: float = 300.0
    delivery_patience: float = 300.0
    heartbeat: float | None = None
    lost_after: float = 10_800.0
    grace: float = 60.0
    check_interval: float = 5.0
    looping_after: float = 7200.0
    memory_slack: float = 2.0
    max_stdout: int = 100
    max_log: int = 2
    min_free: int = 1024
    http_timeout: float = 60.0


def parse_settings(arguments: Sequence[str] | None = None) -> PilotSettings:
    """Read the command line; prints what is wrong and exits with 2 if it cannot work."""
    options = vars(_parser().parse_args(arguments))
    return PilotSettings(**{name: value for name, value in options.items() if value is not None})


def positive(text: str) -> float:
    """A number of seconds above 0, for argparse."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value


def folder(text: str) -> Path:
    """A folder, made if it is not there, as an absolute path."""
    path = Path(text).absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text} cannot be used as a folder: {error.strerror}") from error
    return path


def existing_file(text: str) -> Path:
    """A file that is there."""
    path = Path(text).absolute()
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return path


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """What pilot and factory both need to reach the server."""
    parser.add_argument(
        "--server", required=True, metavar="URL", help="address of the dispatch API, http(s)://host:port"
    )
    parser.add_argument("--token-file", type=existing_file, help="file with the bearer token")
    parser.add_argument("--ca-file", type=existing_file, help="certificates the server's certificate is checked with")
    parser.add_argument("--http-timeout", type=positive, help="longest wait for an answer (60 s)")
    parser.add_argument("--workdir", type=folder, required=True, help="folder for everything that is written")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("pilot", description="Ask for jobs of a queue, run them here, report them.")
    add_server_options(parser)
    parser.add_argument("--queue", required=True)
    parser.add_argument("--label", help="prodSourceLabel of the jobs asked for (managed)")
    parser.add_argument("--vo", help="take jobs of this virtual organisation only")
    parser.add_argument("--factory", help="name of the factory that started this pilot")
    parser.add_argument("--worker-id", type=int)
    parser.add_argument("--batch-id", help="what the batch system calls this pilot")
    parser.add_argument("--state-file", type=Path, help="file that always says what this pilot does")
    parser.add_argument("--lifetime", type=positive, help="ask again while this many seconds are not over")
    parser.add_argument("--patience", type=positive, help="longest idle wait before the pilot ends (300 s)")
    parser.add_argument(
        "--delivery-patience", type=positive, help="how long to retry a delivery before another may (300 s)"
    )
    parser.add_argument("--heartbeat", type=positive, help="interval of updates, instead of the server's")
    parser.add_argument(
        "--lost-after", type=positive, help="give a job up after so long without an accepted update (10800 s)"
    )
    parser.add_argument("--grace", type=positive, help="time between asking a payload to end and killing it (60 s)")
    parser.add_argument("--check-interval", type=positive, help="how often limits are checked (5 s)")
    parser.add_argument(
        "--looping-after", type=positive, help="kill a payload that touches no file for so long (7200 s)"
    )
    parser.add_argument("--memory-slack", type=positive, help="factor on a job's memory request (2)")
    parser.add_argument("--max-stdout", type=int, help="MB a payload may print (100)")
    parser.add_argument("--max-log", type=int, help="MB kept of each part of the log (2)")
    parser.add_argument("--min-free", type=int, help="MB of disk a running payload must leave free (1024)")
    return parser
