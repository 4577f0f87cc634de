"""One job from the server's offer to its delivery: set up, stage in, run, judge, pack, hand over to the courier."""

import errno
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from pilot import report
from pilot.client import JsonObject, Server
from pilot.command import build_command
from pilot.delivery import Courier, Delivery, PendingFile
from pilot.errors import ErrorCode, JobError, JobReportError, ServerAwayError, ServerRefusedError
from pilot.files import stage_in
from pilot.folder import tail
from pilot.heartbeat import Heartbeat
from pilot.job import Job, JobReference, OutputFile, parse_job
from pilot.joblog import pack_log
from pilot.jobreport import JobReport, read_job_report
from pilot.limits import limits_of
from pilot.look import seen
from pilot.payload import Payload, PayloadEnd
from pilot.settings import PilotSettings
from pilot.steps import LOG, log_to_file, one_line
from pilot.stop import StopRequest
from pilot.storage import Storages
from pilot.transform import fetch_transformation, is_served
from pilot.workspace import Workspace

REFUSED = "refused"
_DEFAULT_HEARTBEAT_S = 1800.0
SECRETS = "panda_secrets.json"
_DEBUG_TAIL = 2048
_MB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a job finds around it in this pilot."""

    settings: PilotSettings
    queue: JsonObject
    server: Server
    heartbeat_server: Server
    storages: Storages
    space: Workspace
    courier: Courier
    stop: StopRequest
    reporter: report.Reporter


def run_job(raw: JsonObject, around: Surroundings, timing: report.Timing) -> str:
    """Run one offered job; the final state that was reported.

    "holding": its delivery is left for later; "cancelled" or REFUSED: it was not run, the server does not want it.
    """
    try:
        reference = JobReference.parse(raw)
    except ValueError as error:
        LOG.error("a job without identity is dropped: %s", error)
        return "failed"
    around.stop.begin_job()
    body = report.update(reference, around.reporter, "starting", datetime.now(UTC))
    try:
        job = parse_job(raw)
        record = {"queue": around.settings.queue, "body": body}
        home = around.space.create_job(job.panda_id, job.attempt, record)
    except JobError as error:
        LOG.error("job %d cannot be taken: %s", reference.panda_id, one_line(error))
        _fail_at_once(body, around, error)
        return "failed"
    with log_to_file(home / "pilot.log"):
        LOG.info("job %d attempt %d: %s %.500s", job.panda_id, job.attempt, job.transformation, job.parameters)
        return _JobRun(job, home, body, around, timing).run()


def _fail_at_once(body: JsonObject, around: Surroundings, error: JobError) -> None:
    """Report a job that never got a folder; a server that is away now learns it by the missing confirmation."""
    outcome = report.Outcome(code=int(error.code), diagnosis=one_line(error.diagnosis))
    try:
        around.server.update_job(report.final(body, outcome, report.Measured(), report.Timing(), datetime.now(UTC), ""))
    except (ServerAwayError, ServerRefusedError) as trouble:
        LOG.error("that is not reported: %s", one_line(trouble))


class _JobRun:
    """A job that has its folder."""

    def __init__(self, job: Job, home: Path, body: JsonObject, around: Surroundings, timing: report.Timing) -> None:
        self._job = job
        self._home = home
        self._work = home / "work"
        self._body = body
        self._around = around
        self._timing = timing
        self._measured = report.Measured(cores=job.cores)
        interval_s = job.heartbeat_s or float(around.queue.get("heartbeat") or 0) or _DEFAULT_HEARTBEAT_S
        self._heartbeat = Heartbeat(
            around.heartbeat_server,
            self._progress,
            around.stop,
            interval_s=around.settings.heartbeat or interval_s,
            lost_after_s=around.settings.lost_after,
            on_accepted=lambda: around.space.touch(home),
        )

    def run(self) -> str:
        """From the first update to the delivery."""
        try:
            command = self._around.server.update_job(self._body)
        except ServerAwayError as error:
            LOG.warning("starting is not reported: %s", one_line(error))
            command = ""
        except ServerRefusedError as error:
            LOG.error("the server refuses the job it gave: %s", one_line(error))
            self._around.space.discard(self._home)
            return REFUSED
        if "tobekilled" in command:
            LOG.warning("job %d is not wanted any more", self._job.panda_id)
            self._around.space.discard(self._home)
            return "cancelled"
        self._heartbeat.start()
        try:
            return self._run_and_deliver()
        finally:
            self._heartbeat.close()

    def _run_and_deliver(self) -> str:
        outcome = self._work_off()
        try:
            delivery = self._prepare(outcome)
            home = self._around.space.keep_for_delivery(self._home)
        except OSError as error:
            LOG.exception("what job %d leaves cannot be kept", self._job.panda_id)
            self._heartbeat.close()
            _fail_at_once(self._body, self._around, JobError(ErrorCode.NO_LOCAL_SPACE, f"cannot keep outputs: {error}"))
            self._around.space.discard(self._home)
            return "failed"
        patience_s = self._around.settings.delivery_patience
        return self._around.courier.deliver(home, delivery, patience_s, self._heartbeat.close)

    def _work_off(self) -> report.Outcome:
        """Everything that may fail the job; never raises for a reason that can be reported."""
        try:
            with self._timed("setup"):
                self._obey_stop()
                appdir = str(self._around.queue.get("appdir") or "")
                cache = self._around.space.cache
                served = (
                    fetch_transformation(self._job, self._around.server, self._work) if is_served(self._job) else None
                )
                command = build_command(
                    self._job, appdir, self._around.settings.queue, self._work, cache, dict(os.environ), served
                )
            with self._timed("stagein"):
                self._stage_in()
            with self._timed("payload"), self._secrets():
                payload = Payload(command, self._work, self._home / "payload.stdout", self._home / "payload.stderr")
                end = self._watch(payload)
            return self._judge(end)
        except JobError as error:
            LOG.error("job %d fails: %s", self._job.panda_id, one_line(error))
            return report.Outcome(code=int(error.code), diagnosis=one_line(error.diagnosis))
        except ServerAwayError as error:
            return report.Outcome(code=int(ErrorCode.STAGE_IN_FAILED), diagnosis=one_line(error))
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            code = ErrorCode.NO_LOCAL_SPACE if full else ErrorCode.SETUP_FAILED
            LOG.exception("job %d fails", self._job.panda_id)
            return report.Outcome(code=int(code), diagnosis=one_line(error))

    @contextmanager
    def _secrets(self) -> Iterator[None]:
        """Let the payload read its owner's secrets while it runs, as stock pilots do (wire-protocol.md 5)."""
        file = self._work / SECRETS
        if self._job.secrets:
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
                stream.write(self._job.secrets)
        try:
            yield
        finally:
            if self._job.secrets:
                file.unlink(missing_ok=True)

    def _stage_in(self) -> None:
        link = "symlink_inputs" in str(self._around.queue.get("catchall") or "")
        for file in self._job.inputs:
            self._obey_stop()
            began = time.monotonic()
            size = stage_in(file, self._around.storages.read_root(file.endpoint), self._work, link=link)
            LOG.info("staged in %s: %d bytes, %.3f s", file.lfn, size, time.monotonic() - began)

    def _watch(self, payload: Payload) -> PayloadEnd:
        settings = self._around.settings
        limits = limits_of(
            self._job,
            self._around.queue.get("maxrss"),
            slack=settings.memory_slack,
            stdout_mb=settings.max_stdout,
            looping_s=settings.looping_after,
            min_free_mb=settings.min_free,
        )
        self._heartbeat.tell("running")

        def sample() -> None:
            self._measured = replace(self._measured, cpu_s=payload.cpu_s, max_rss_kb=payload.max_rss_kb)

        end = payload.watch(
            limits, self._around.stop, interval_s=settings.check_interval, grace_s=settings.grace, on_sample=sample
        )
        self._measured = replace(self._measured, cpu_s=end.cpu_s, max_rss_kb=end.max_rss_kb)
        LOG.info(
            "payload ended with %d after %.2f s, CPU %.2f s, memory %d kB",
            end.exit_code, end.wall_s, end.cpu_s, end.max_rss_kb,
        )  # fmt: skip
        return end

    def _judge(self, end: PayloadEnd) -> report.Outcome:
        """Success is: the payload says so, and every output is there."""
        try:
            said = read_job_report(self._work)
        except (JobReportError, OSError) as error:
            said = JobReport(error_code=1, error_diagnosis=one_line(error))
        outcome = report.Outcome(
            exit_code=end.exit_code,
            exe_code=said.error_code,
            exe_diagnosis=one_line(said.error_diagnosis),
            n_events=said.n_events,
            output_events=said.output_events,
        )
        failure = end.reason or self._payload_failure(end, said) or self._output_failure()
        if failure is None:
            return outcome
        LOG.error("job %d fails: %s", self._job.panda_id, one_line(failure))
        return replace(outcome, code=int(failure.code), diagnosis=one_line(failure.diagnosis))

    def _payload_failure(self, end: PayloadEnd, said: JobReport) -> JobError | None:
        if end.exit_code == 0 and said.error_code == 0:
            return None
        lines = tail(self._home / "payload.stderr", _DEBUG_TAIL).strip().splitlines()
        last_words = said.error_diagnosis or (lines[-1] if lines else "nothing on stderr")
        return JobError(ErrorCode.PAYLOAD_FAILED, f"the payload ended with {end.exit_code}: {last_words}")

    def _output_failure(self) -> JobError | None:
        for file in self._job.outputs:
            path = self._work / file.lfn
            if not path.is_file() or not path.resolve().is_relative_to(self._work.resolve()):
                if file.is_optional and not path.exists():
                    continue
                return JobError(ErrorCode.OUTPUT_MISSING, f"the payload left no file {file.lfn} in its work folder")
            if path.stat().st_size == 0:
                return JobError(ErrorCode.OUTPUT_EMPTY, f"output {file.lfn} is empty")
        return None

    def _prepare(self, outcome: report.Outcome) -> Delivery:
        """Write down all that is to be delivered; from here on the job survives this pilot."""
        files = [] if outcome.code else [file for file in self._job.outputs if (self._work / file.lfn).exists()]
        pending = [self._pending(file, f"work/{file.lfn}", outcome) for file in files]
        if self._job.log is not None:
            try:
                (self._home / "log").mkdir()
                target = self._home / "log" / self._job.log.lfn
                pack_log(self._home, target, self._home.name, self._around.settings.max_log * _MB)
                pending.append(self._pending(self._job.log, f"log/{self._job.log.lfn}", outcome, is_log=True))
            except OSError as error:
                LOG.warning("no log is made: %s", error)
        words = tail(self._home / "pilot.log", _DEBUG_TAIL)
        body = report.final(self._body, outcome, self._measured, self._timing, datetime.now(UTC), words)
        delivery = Delivery(queue=self._around.settings.queue, body=body, files=tuple(pending))
        delivery.write(self._home)
        return delivery

    def _pending(self, file: OutputFile, path: str, outcome: report.Outcome, *, is_log: bool = False) -> PendingFile:
        return PendingFile(
            lfn=file.lfn,
            scope=file.scope,
            endpoint=file.endpoint,
            path=path,
            guid=file.guid or str(uuid.uuid4()),
            is_log=is_log,
            events=outcome.output_events.get(file.lfn),
        )

    def _progress(self, status: str, command: str) -> JsonObject:
        stdout = seen(command, self._home) if command else ""
        return report.progress(self._body | {"job_status": status}, self._measured, stdout)

    def _obey_stop(self) -> None:
        if self._around.stop.reason is not None:
            raise self._around.stop.reason

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            spent = getattr(self._timing, phase) + time.monotonic() - began
            self._timing = replace(self._timing, **{phase: spent})
