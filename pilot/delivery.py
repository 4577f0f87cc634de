"""Bringing an ended job home: its files to their storage, then the final report. The same way at once and in recovery.

A delivery stands in its folder (delivery.json) before anything of it is carried out, so it survives the pilot, and each
step can be repeated: a file that is stored already with the same checksum counts as stored.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pilot.client import JsonObject, Server
from pilot.errors import JobError, ServerAwayError, ServerRefusedError, StorageAwayError
from pilot.files import put
from pilot.names import place
from pilot.report import StoredFile, output_report
from pilot.steps import LOG, one_line
from pilot.stop import StopRequest
from pilot.storage import Storages, surl
from pilot.workspace import Workspace, read_json, write_json

_RECORD = "delivery.json"
_FIRST_RETRY_S = 1.0
_LAST_RETRY_S = 60.0
_LATER_S = 30.0
_MUCH_LATER_S = 900.0
_STAGE_OUT = 3  # position in pilot_timing
_REPORT = "job_output_report"
_FINAL_FIELDS = frozenset(
    {
        _REPORT,
        "end_time",
        "pilot_timing",
        "pilot_error_code",
        "pilot_error_diag",
        "trans_exit_code",
        "exe_error_code",
        "exe_error_diag",
        "pilot_log",
        "n_events",
    }
)


@dataclass(frozen=True, slots=True)
class PendingFile:
    """A file of an ended job; `path` is relative to the job's folder."""

    lfn: str
    scope: str
    endpoint: str
    path: str
    guid: str
    is_log: bool
    events: int | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """The final update without its files, and the files. `next_try` (epoch s) is meant for later pilots."""

    queue: str
    body: JsonObject
    files: tuple[PendingFile, ...]
    tries: int = 0
    next_try: float = 0.0

    @property
    def name(self) -> str:
        """Job and attempt."""
        return f"{self.body['job_id']}-{self.body['attempt_nr']}"

    def write(self, home: Path) -> None:
        """Keep it in the job's folder."""
        write_json(home / _RECORD, asdict(self))

    @classmethod
    def read(cls, home: Path) -> "Delivery | None":
        """The delivery kept in a folder; None if there is no usable one."""
        content = read_json(home / _RECORD)
        if content is None:
            return None
        try:
            files = tuple(PendingFile(**file) for file in content.pop("files"))
            return cls(files=files, **content)
        except (KeyError, TypeError):
            return None

    def as_failed(self, error: JobError) -> "Delivery":
        """The same job as a failure: only its log is left to be stored."""
        failure = {
            "job_status": "failed",
            "pilot_error_code": int(error.code),
            "pilot_error_diag": one_line(error.diagnosis)[:500],
        }
        return replace(self, body=self.body | failure, files=tuple(file for file in self.files if file.is_log))


class Courier:
    """Carries deliveries out for one pilot."""

    def __init__(self, server: Server, storages: Storages, space: Workspace, stop: StopRequest) -> None:
        self._server = server
        self._storages = storages
        self._space = space
        self._stop = stop

    def deliver(self, home: Path, delivery: Delivery, patience_s: float, before_report: Callable[[], None]) -> str:
        """Deliver a claimed folder; the final state that was reported, or "holding" if it is left for later.

        Storage or server away: repeated with back-off as long as the patience lasts and nobody wants the pilot's end.
        """
        self._stop.begin_job()
        give_up = time.monotonic() + patience_s
        pause = _FIRST_RETRY_S
        while True:
            try:
                if _REPORT not in delivery.body:
                    delivery = self._stored(home, delivery)
                before_report()
                return self._report(home, delivery)
            except (StorageAwayError, ServerAwayError) as error:
                LOG.warning("job %s cannot be delivered now: %s", delivery.name, one_line(error))
                before_report()
                if isinstance(error, StorageAwayError) and not self._is_still_wanted(delivery):
                    self._space.discard(home)
                    return "failed"
            delivery = replace(delivery, tries=delivery.tries + 1)
            if time.monotonic() + pause > give_up or self._stop.pilot_ends or self._stop.wait(pause):
                self._postpone(home, delivery)
                return "holding"
            pause = min(2 * pause, _LAST_RETRY_S)

    def recover(self, queue: str) -> None:
        """Deliver what ended or broken-off pilots of this queue have left, one try each; report jobs they died with."""
        for home in self._space.ownerless(self._space.recovery):
            delivery = Delivery.read(home)
            if delivery is None:
                self._space.discard(home)
            elif delivery.queue != queue or delivery.next_try > time.time():
                self._space.release(home)
            else:
                LOG.info("job %s of an earlier pilot is delivered now (try %d)", delivery.name, delivery.tries + 1)
                if self.deliver(home, delivery, 0.0, lambda: None) == "holding":
                    break
        for home in self._space.ownerless(self._space.jobs):
            self._report_dead(home, queue)

    def _stored(self, home: Path, delivery: Delivery) -> Delivery:
        """The delivery with its files stored and its report complete; from now on its body never changes."""
        began = time.monotonic()
        try:
            stored = self._store(home, delivery)
        except StorageAwayError:
            raise
        except JobError as error:
            LOG.error("outputs of job %s cannot be stored: %s", delivery.name, one_line(error))
            delivery = delivery.as_failed(error)
            stored = self._store(home, delivery)
        timing = _with_stage_out(str(delivery.body.get("pilot_timing", "")), time.monotonic() - began)
        body = delivery.body | {"pilot_timing": timing, _REPORT: json.dumps(output_report(stored))}
        return replace(delivery, body=body, files=())

    def _report(self, home: Path, delivery: Delivery) -> str:
        """Send the final update and forget the folder; whatever the server says, it is its last word."""
        status = str(delivery.body["job_status"])
        try:
            command = self._server.update_job(delivery.body)
        except ServerRefusedError as error:
            LOG.error("the final report of job %s is refused, its folder goes: %s", delivery.name, one_line(error))
        else:
            LOG.info("job %s reported %s%s", delivery.name, status, f" (answer: {command})" if command else "")
        self._space.discard(home)
        return status

    def _store(self, home: Path, delivery: Delivery) -> list[StoredFile]:
        """Put all files. The log of a failed job is left out if it cannot be stored: the failure itself counts more."""
        stored = []
        failed = delivery.body["job_status"] == "failed"
        for file in delivery.files:
            try:
                stored.append(self._put(home, file, int(delivery.body["attempt_nr"])))
            except JobError as error:
                if not (failed and file.is_log):
                    raise
                LOG.warning("the log of job %s is not stored: %s", delivery.name, one_line(error))
        return stored

    def _put(self, home: Path, file: PendingFile, attempt: int) -> StoredFile:
        root = self._storages.write_root(file.endpoint)
        began = time.monotonic()
        sent = put(home / file.path, root, file.scope, file.lfn, attempt)
        LOG.info("stored %s: %d bytes, adler32 %s, %.3f s", file.lfn, sent.size, sent.adler32, time.monotonic() - began)
        return StoredFile(
            lfn=file.lfn,
            guid=file.guid,
            size=sent.size,
            adler32=sent.adler32,
            surl=surl(root, place(root, file.scope, file.lfn)),
            endpoint=file.endpoint or self._storages.default_endpoint(),
            events=file.events,
        )

    def _is_still_wanted(self, delivery: Delivery) -> bool:
        """Report that the job is held until its storage is back; False if the server has given it up meanwhile."""
        try:
            held = {key: value for key, value in delivery.body.items() if key not in _FINAL_FIELDS}
            return "tobekilled" not in self._server.update_job(held | {"job_status": "holding"})
        except (ServerAwayError, ServerRefusedError) as error:
            LOG.warning("holding of job %s is not reported: %s", delivery.name, one_line(error))
            return True

    def _postpone(self, home: Path, delivery: Delivery) -> None:
        later = min(_LATER_S * 2 ** min(delivery.tries, 10), _MUCH_LATER_S) if delivery.tries > 1 else 0.0
        replace(delivery, next_try=time.time() + later).write(home)
        self._space.release(home)
        LOG.warning("job %s is kept in %s for a later pilot", delivery.name, home)

    def _report_dead(self, home: Path, queue: str) -> None:
        """A job whose pilot was killed is reported as failed, so that nobody waits for its heartbeat."""
        record = read_json(home / "job.json")
        if record is not None and record.get("queue") != queue:
            self._space.release(home)
            return
        if record is not None:
            failure = {"job_status": "failed", "pilot_error_code": 1200, "pilot_error_diag": "the pilot was killed"}
            try:
                self._server.update_job(record["body"] | failure)
                LOG.warning("job folder %s was left by a killed pilot, its job is reported as failed", home.name)
            except ServerRefusedError as error:
                LOG.warning("job folder %s was left by a killed pilot: %s", home.name, one_line(error))
            except ServerAwayError:
                self._space.release(home)
                return
        self._space.discard(home)


def _with_stage_out(timing: str, seconds: float) -> str:
    phases = timing.split("|")
    if len(phases) > _STAGE_OUT:
        phases[_STAGE_OUT] = str(round(seconds))
    return "|".join(phases)
