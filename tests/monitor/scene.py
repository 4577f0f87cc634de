"""A grid with work in every state, written as rows: what the monitor's pages show in tests."""

import uuid
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, insert, text

from panda.brokerage.decision import Candidate, CloudDecision, Rejection, SiteDecision, Verdict
from panda.brokerage.journal import to_json
from panda.ddm.embedded import schema as ddm
from panda.domain.states import BunchState, JobStatus
from panda.store import placement, schema
from panda.store.work import add_incident
from tests.support.builders import a_bunch, a_class, a_site, a_task, an_event, jobs_of

NASTY = "mc.<script>alert('x')</script>&\"q\""
NO_MEMORY = Rejection("2.2", "memory", 2000, 4000, "the site gives 2000 MB", permanent=True)


def fill(rows: Connection) -> None:
    """Two clouds, three sites, four tasks, jobs in every state, errors, transfers, pilots, incidents."""
    bnl = a_site(rows, "BNL", "US", tier=1)
    agl = a_site(rows, "AGLT2", "US", comment="<b>broken</b>", status="brokeroff")
    fzk = a_site(rows, "FZK", "DE", tier=1)
    evgen = a_task(rows, "mc.evgen", campaign="mc23", owner="alice")
    recon = a_task(rows, NASTY, parent_id=evgen, owner="bob <b>", waits_for="<i>files</i>", cloud="US")
    a_task(rows, "user.carol.test", owner="carol", label="user", stage="registered", cloud=None, needs_id=None)
    done = a_task(rows, "mc.old", cloud="DE", stage="done", ended_at=datetime.now(UTC))
    _waiting(rows, evgen, recon, bnl, agl)
    _held_and_collected(rows, evgen, bnl, agl)
    _ended(rows, evgen, done, bnl, fzk)
    _around(rows, evgen, recon, bnl)
    _copies(rows)


def _waiting(rows: Connection, evgen: int, recon: int, bnl: int, agl: int) -> None:
    defined = a_bunch(rows, evgen, n_jobs=3)
    a_bunch(rows, evgen, n_jobs=2, state=BunchState.WAITING, first_ordinal=3)
    assigned = a_bunch(rows, recon, n_jobs=4, state=BunchState.ASSIGNED, site_id=agl)
    activated = a_bunch(rows, recon, n_jobs=5, state=BunchState.ACTIVATED, site_id=bnl, first_ordinal=4)
    number = a_class(rows, bnl)
    rows.execute(
        insert(schema.ready), [{"job_id": one, "class_id": number, "priority": 500} for one in jobs_of(rows, activated)]
    )
    candidates = (Candidate("BNL", bnl, NO_MEMORY), Candidate("AGLT2", agl, None, load=0.5, files=2))
    _decide(rows, evgen, defined, SiteDecision(defined, Verdict.WAIT, None, "", candidates, "memory 1 (BNL)"), None)
    chosen = SiteDecision(assigned, Verdict.PLACED, agl, "AGLT2", candidates, "lowest load")
    _decide(rows, recon, assigned, chosen, "AGLT2")
    _decide(rows, recon, None, CloudDecision(recon, "US", (Candidate("US", weight=3.0),), "drawn by weight"), "US")


def _decide(
    rows: Connection, task: int, bunch: int | None, made: SiteDecision | CloudDecision, chosen: str | None
) -> None:
    number = placement.add_round(rows, kind="site", cloud="US", seed=1, snapshot={}, thresholds={})
    placement.add_decision(
        rows, number, task_id=task, bunch_id=bunch, chosen=chosen, reason=made.reason, decision=to_json(made)
    )


def move(rows: Connection, job: int, task: int, site: int, *states: JobStatus, why: str = "reported") -> None:
    """Take a job through states, with its events."""
    before = JobStatus.ACTIVATED
    for state in states:
        an_event(
            rows, task, job_id=job, from_site=site, from_state=before, to_site=site, to_state=state, why=why, who="test"
        )
        before = state
    rows.execute(schema.job.update().values(status=before, site_id=site).where(schema.job.c.id == job))


def _held_and_collected(rows: Connection, task: int, bnl: int, agl: int) -> None:
    bunch = a_bunch(rows, task, n_jobs=8, state=BunchState.ACTIVATED, site_id=bnl, first_ordinal=5, open=False)
    jobs = jobs_of(rows, bunch)
    ways = {
        "sent": [JobStatus.SENT],
        "starting": [JobStatus.SENT, JobStatus.STARTING],
        "running": [JobStatus.SENT, JobStatus.STARTING, JobStatus.RUNNING],
    }
    for job, way in zip(jobs[:5], [ways["sent"], ways["starting"], *[ways["running"]] * 3], strict=True):
        move(rows, job, task, bnl, *way)
        held = {
            "job_id": job,
            "lease": 1,
            "site_id": bnl,
            "queue": "BNL",
            "factory": "local",
            "worker_id": job,
            "node": "wn1",
        }
        rows.execute(insert(schema.in_hand).values(held))
    for job, state in zip(jobs[5:], [JobStatus.HOLDING, JobStatus.TRANSFERRING, JobStatus.TRANSFERRING], strict=True):
        move(
            rows, job, task, bnl, *ways["running"], JobStatus.HOLDING, *([state] if state != JobStatus.HOLDING else [])
        )
        rows.execute(insert(schema.to_collect).values(job_id=job, state=state))
    workers = [
        {"factory": "local", "worker_id": job, "queue": "BNL", "status": "running", "node": "wn1"} for job in jobs[:5]
    ]
    rows.execute(insert(schema.worker), workers)
    rows.execute(
        insert(schema.worker).values(factory="local", worker_id=99, queue="AGLT2", status="submitted", diag="<u>")
    )
    now = datetime.now(UTC)
    rows.execute(insert(schema.pilot_activity).values(site_id=bnl, node="wn1", last_get_job=now, last_update_job=now))


def _ended(rows: Connection, evgen: int, done: int, bnl: int, fzk: int) -> None:
    for task, site, first, finished, failed in ((evgen, bnl, 13, 6, 4), (done, fzk, 0, 7, 0)):
        bunch = a_bunch(rows, task, n_jobs=finished + failed, state=BunchState.ACTIVATED, site_id=site,
                        first_ordinal=first, open=False)  # fmt: skip
        for place, job in enumerate(jobs_of(rows, bunch)):
            good = place < finished
            end = JobStatus.FINISHED if good else JobStatus.FAILED
            move(rows, job, task, site, JobStatus.SENT, JobStatus.RUNNING, JobStatus.HOLDING, end, why="settled")
            errors = (
                [] if good else [{"component": "pilot", "code": 1305, "text": f"payload <b>failed</b> in {place} s"}]
            )
            report = {
                "job_id": job,
                "verdict": end,
                "errors": errors,
                "wall_s": 60.0 + place,
                "cpu_s": 50.0,
                "node": f"wn{place % 3}",
            }
            rows.execute(insert(schema.job_report).values(report))


def _around(rows: Connection, evgen: int, recon: int, bnl: int) -> None:
    made = rows.execute(
        insert(schema.dataset)
        .values(
            scope="mc", name="mc.evgen.out", kind="output", task_id=evgen, n_files=2, bytes=2_000_000, state="closed"
        )
        .returning(schema.dataset.c.id)
    ).scalar_one()
    files = [
        {
            "dataset_id": made,
            "ordinal": place,
            "scope": "mc",
            "lfn": f"f{place}<i>",
            "bytes": 10**6,
            "adler32": "00000001",
        }
        for place in range(2)
    ]
    rows.execute(insert(schema.dataset_file), files)
    read = {"task_id": recon, "stream": 1, "place": 0, "name": "IN", "role": "primary", "dataset": "mc.evgen.out"}
    rows.execute(insert(schema.task_input).values(**read, dataset_id=made, first_ordinal=0, n_files=2))
    block = {"name": "panda.b_dis1", "kind": "dis", "task_id": recon, "site_id": bnl, "rse": "BNL_DATADISK"}
    rows.execute(insert(schema.block).values(**block, state="stuck", n_files=2, bytes=2_000_000, error="no <route>"))
    add_incident(rows, "error", "brokerage", f"task:{recon}", "no site <b>can</b> ever run it")
    add_incident(rows, "info", "queuecontrol", "site:AGLT2", "brokeroff by operator: <b>broken</b>")
    old = datetime.now(UTC) - timedelta(days=3)
    rows.execute(text("UPDATE incident SET at = :old WHERE kind = 'queuecontrol'"), {"old": old})


def _copies(rows: Connection) -> None:
    """Tries to copy the files of a block: over a good link, a slow one, one that fails, and one that waits."""
    block = rows.execute(
        insert(ddm.dataset)
        .values(scope="panda", name="panda.b_dis1", container=False, meta={})
        .returning(ddm.dataset.c.id)
    ).scalar_one()
    wanted = {
        "rse": "BNL_DATADISK",
        "state": "STUCK",
        "priority": 3,
        "activity": "in",
        "account": "panda",
        "comment": "",
    }
    transfer = rows.execute(
        insert(ddm.transfer).values(dataset_id=block, **wanted).returning(ddm.transfer.c.id)
    ).scalar_one()
    files = [
        rows.execute(
            insert(ddm.file)
            .values(scope="mc", name=name, bytes=10**8, adler32="00000001", guid=uuid.uuid4())
            .returning(ddm.file.c.id)
        ).scalar_one()
        for name in ("f0<i>", "f1<i>", "f2")
    ]
    ways = [
        ("AGLT2_DATADISK", "BNL_DATADISK", 2.0, ""),
        ("AGLT2_DATADISK", "FZK_DATADISK", 2.5, ""),
        ("FZK_DATADISK", "BNL_DATADISK", 100.0, ""),
        ("FZK_DATADISK", "AGLT2_DATADISK", 0.1, "FZK_DATADISK -> AGLT2_DATADISK: no <route>"),
    ]
    rows.execute(
        insert(ddm.attempt),
        [
            {"transfer_id": transfer, "file_id": one, "source_rse": source, "rse": rse, "number": 1, "bytes": 10**8,
             "seconds": seconds, "error": error, "queued_at": datetime.now(UTC)}
            for source, rse, seconds, error in ways
            for one in files
        ],
    )  # fmt: skip
    waiting = {"rse": "BNL_DATADISK", "state": "QUEUED", "priority": 3, "source_only": "FZK_DATADISK"}
    rows.execute(insert(ddm.request).values(file_id=files[0], **waiting))
