"""The pilot's folders: one per job, claimed by exactly one living pilot at a time.

<workdir>/jobs/<job>-<attempt>/       the job in hand: job.json, pilot.log, payload.stdout, payload.stderr, work/, tmp/
<workdir>/recovery/<job>-<attempt>/   the same folder, renamed once the payload has ended: delivery.json says what is
                                      to be delivered. Any pilot of the queue may claim it when its owner is gone.
<workdir>/cache/                      shared caches of payloads (fonts, compiled files)
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pilot.client import JsonObject
from pilot.errors import ErrorCode, JobError
from pilot.processes import ProcessIdentity, host_name, is_alive, own_identity

_LOCK = "lock"
OWN_FILES = (_LOCK, "job.json", "pilot.log")
"""What the pilot itself writes beside the payload's folder: no sign that the payload does anything."""
_DRAFT = ".new-"
_OTHER_HOST_SILENCE_S = 4 * 3600.0


class Workspace:
    """The folders below one workdir, as one pilot uses them."""

    def __init__(self, workdir: Path) -> None:
        self.root = workdir
        self.jobs = workdir / "jobs"
        self.recovery = workdir / "recovery"
        self.cache = workdir / "cache"
        for folder in (self.jobs, self.recovery, self.cache):
            folder.mkdir(parents=True, exist_ok=True)
        self._me = own_identity()

    def create_job(self, job_id: int, attempt: int, description: JsonObject) -> Path:
        """A claimed folder for a job. JobError 1336 if that attempt runs or waits for delivery here already.

        It is made aside and renamed, so that no other pilot ever sees it without its claim.
        """
        name = f"{job_id}-{attempt}"
        draft = self.jobs / f"{_DRAFT}{self._me.text}"
        shutil.rmtree(draft, ignore_errors=True)
        for folder in (draft, draft / "work", draft / "tmp"):
            folder.mkdir()
        self._create_lock(draft)
        write_json(draft / "job.json", description)
        home = self.jobs / name
        try:
            draft.rename(home)
        except OSError:
            if not self.claim(home):
                raise self._in_hand(name) from None
            self.discard(home)
            draft.rename(home)
        if (self.recovery / name).exists():
            self.discard(home)
            raise self._in_hand(name)
        return home

    def _in_hand(self, name: str) -> JobError:
        return JobError(ErrorCode.ALREADY_RUNNING, f"job and attempt {name} are in hand in {self.root} already")

    def keep_for_delivery(self, home: Path) -> Path:
        """Move an ended job's folder, claim included, to where deliveries are found; one atomic step."""
        target = self.recovery / home.name
        home.rename(target)
        return target

    def claim(self, folder: Path) -> bool:
        """Take a folder for this pilot; False if a living pilot has it or if it is gone."""
        if self._create_lock(folder):
            return True
        with (self.root / ".claims").open("a") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            if not folder.is_dir() or _is_held(folder / _LOCK):
                return False
            (folder / _LOCK).unlink(missing_ok=True)
            return self._create_lock(folder)

    def touch(self, folder: Path) -> None:
        """Show pilots on other hosts, which cannot see this process, that the claim is alive."""
        with suppress(OSError):
            os.utime(folder / _LOCK)

    def release(self, folder: Path) -> None:
        """Give a claimed folder back."""
        (folder / _LOCK).unlink(missing_ok=True)

    def discard(self, folder: Path) -> None:
        """Remove a claimed folder; what a crash leaves of it is recognised as rubbish."""
        for name in ("job.json", "delivery.json"):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)

    def ownerless(self, parent: Path) -> Iterator[Path]:
        """The folders below `parent` that no living pilot holds, claimed one by one as they are asked for."""
        for folder in sorted(parent.iterdir()):
            if folder.name.startswith(_DRAFT):
                if not is_alive(ProcessIdentity.parse(folder.name.removeprefix(_DRAFT))):
                    shutil.rmtree(folder, ignore_errors=True)
            elif folder.is_dir() and self.claim(folder):
                yield folder

    def _create_lock(self, folder: Path) -> bool:
        """Write the whole claim aside and link it: it exists either not at all or complete, and only once."""
        draft = self.root / f".claim-{self._me.text}"
        owner = {"host": host_name(), "pid": self._me.pid, "start": self._me.start}
        draft.write_text(json.dumps(owner), encoding="utf-8")
        try:
            os.link(draft, folder / _LOCK)
        except (FileExistsError, FileNotFoundError, NotADirectoryError):
            return False
        finally:
            draft.unlink(missing_ok=True)
        return True


def write_json(path: Path, content: JsonObject, *, durable: bool = True) -> None:
    """Replace a small file as a whole; durable: it survives a crash of the machine at any moment."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("w", encoding="utf-8") as stream:
        json.dump(content, stream)
        if durable:
            stream.flush()
            os.fsync(stream.fileno())
    draft.replace(path)


def read_json(path: Path) -> JsonObject | None:
    """A file of `write_json`; None if it is not there or not whole."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _is_held(lock: Path) -> bool:
    owner = read_json(lock)
    if owner is None:
        return False
    if owner.get("host") != host_name():
        with suppress(OSError):
            return time.time() - lock.stat().st_mtime < _OTHER_HOST_SILENCE_S
        return False
    return is_alive(ProcessIdentity(int(owner["pid"]), int(owner["start"])))
