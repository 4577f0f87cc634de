"""Owns what time does: expiry, repair of stuck files, deletion of unneeded copies, folding and pruning.

Every function may be run by several agents at any time, does a bounded piece and says how much it did.
"""

import logging
from collections.abc import Sequence

from sqlalchemy import Connection, Engine, Row, text

from panda.ddm.embedded import cancelling, datasets, events, replicas, storage, transfers
from panda.ddm.embedded.storage import Expected
from panda.ddm.embedded.transactions import run
from panda.ddm.port import Did

log = logging.getLogger(__name__)

_REAP_LOCK = 0x64646D_0003
_BATCH = 1000

# Expiry --------------------------------------------------------------------------------------------------------------

_EXPIRED_TRANSFERS = text("""
    SELECT id FROM ddm.transfer
     WHERE expires_at < now() AND state IN ('QUEUED', 'MOVING', 'OK', 'STUCK') ORDER BY id LIMIT 100
""")
_EXPIRED_DATASETS = text("""
    SELECT scope, name FROM ddm.dataset
     WHERE erased_at IS NULL AND expires_at IS NOT NULL AND expires_at < now() ORDER BY id LIMIT 100
""")


def expire(engine: Engine) -> int:
    """End transfers and erase datasets whose lifetime is over."""

    def end_transfers(connection: Connection) -> int:
        ids = connection.execute(_EXPIRED_TRANSFERS).scalars().all()
        cancelling.end(connection, ids, "EXPIRED")
        return len(ids)

    def erase_datasets(connection: Connection) -> int:
        dids = [Did(row.scope, row.name) for row in connection.execute(_EXPIRED_DATASETS)]
        if dids:
            datasets.erase_chunk(connection, dids)
        return len(dids)

    return run(engine, end_transfers) + run(engine, erase_datasets)


_CLEAR = text("""
    WITH gone AS (
        DELETE FROM ddm.content WHERE (dataset_id, position) IN (
            SELECT c.dataset_id, c.position FROM ddm.dataset d JOIN ddm.content c ON c.dataset_id = d.id
             WHERE d.erased_at IS NOT NULL AND d.files > 0
             ORDER BY c.dataset_id, c.position LIMIT :batch FOR UPDATE OF c SKIP LOCKED)
        RETURNING file_id
    ), doomed AS (
        UPDATE ddm.replica r SET doomed_at = now() FROM (SELECT DISTINCT file_id FROM gone) g
         WHERE r.file_id = g.file_id AND r.doomed_at IS NULL
    )
    SELECT count(*) FROM gone
""")
_CLEARED = text("""
    UPDATE ddm.dataset d SET files = 0, bytes = 0
     WHERE d.erased_at IS NOT NULL AND d.files > 0
       AND NOT EXISTS (SELECT FROM ddm.content c WHERE c.dataset_id = d.id)
""")


def clear_erased(engine: Engine) -> int:
    """Take the contents of erased datasets away; copies of files that no dataset holds any more are doomed."""

    def work(connection: Connection) -> int:
        count = int(connection.execute(_CLEAR, {"batch": _BATCH}).scalar_one())
        if count == 0:
            connection.execute(_CLEARED)
        return count

    return run(engine, work)


# Repair --------------------------------------------------------------------------------------------------------------

_STUCK_LONG = text("""
    SELECT id, file_id, rse, state FROM ddm.request
     WHERE state = 'STUCK' AND updated_at < now() - CAST(:seconds AS double precision) * interval '1 second'
     ORDER BY id LIMIT :batch FOR UPDATE SKIP LOCKED
""")
_AGE = text("""
    UPDATE ddm.request SET priority = priority - 1, updated_at = now()
     WHERE id IN (SELECT id FROM ddm.request
                   WHERE state = 'QUEUED' AND priority > 1 AND updated_at < now() - interval '1 hour'
                   ORDER BY id LIMIT :batch FOR UPDATE SKIP LOCKED)
""")


def repair(engine: Engine, after_seconds: float) -> int:
    """Try files again that are STUCK for so long, and move up what waits for hours."""

    def work(connection: Connection) -> int:
        rows = connection.execute(_STUCK_LONG, {"seconds": after_seconds, "batch": _BATCH}).all()
        connection.execute(_AGE, {"batch": _BATCH})
        if rows:
            events.write(connection, transfers.retry(connection, rows))
        return len(rows)

    return run(engine, work)


_SUSPICIOUS = text("""
    SELECT f.id, f.scope, f.name, f.bytes, f.adler32, r.rse, e.root
      FROM ddm.replica r JOIN ddm.file f ON f.id = r.file_id JOIN ddm.rse e ON e.name = r.rse
     WHERE r.state = 'SUSPICIOUS' AND e.available_read ORDER BY r.at LIMIT 20
""")
_TRUST = text("""
    UPDATE ddm.replica SET state = 'AVAILABLE', bad_reads = 0
     WHERE file_id = :id AND rse = :rse AND state = 'SUSPICIOUS'
""")


def examine_suspicious(engine: Engine) -> int:
    """Read suspicious copies once more: right ones are trusted again, wrong ones are declared lost."""
    rows = run(engine, lambda connection: connection.execute(_SUSPICIOUS).all())
    for row in rows:
        did = Did(row.scope, row.name)
        if not storage.reachable(row.root):
            continue
        try:
            good = storage.holds(storage.path_on(row.root, did), Expected(row.bytes, row.adler32))
        except OSError as error:
            log.warning("cannot examine %s at %s: %s", did, row.rse, error)
            continue
        if good:
            values = {"id": row.id, "rse": row.rse}
            run(engine, lambda connection, values=values: connection.execute(_TRUST, values))  # type: ignore[misc]
        else:
            replicas.declare_lost(engine, row.rse, [did], "its content is wrong or it is missing on disk")
    return len(rows)


# Deletion ------------------------------------------------------------------------------------------------------------

_TRY_TURN = text("SELECT pg_try_advisory_lock(:lock)")
_END_TURN = text("SELECT pg_advisory_unlock(:lock)")
# Oldest first; an RSE with `reap_above` gives up only what brings it below that fraction of its space.
_DOOMED = text("""
    SELECT d.file_id, d.rse
      FROM ddm.rse e
      LEFT JOIN (SELECT rse, sum(bytes) AS used FROM ddm.space GROUP BY rse) s ON s.rse = e.name
      CROSS JOIN LATERAL (
          SELECT r.file_id, r.rse, sum(f.bytes) OVER (ORDER BY r.doomed_at, r.file_id) - f.bytes AS before
            FROM (SELECT file_id, rse, doomed_at FROM ddm.replica
                   WHERE rse = e.name AND doomed_at IS NOT NULL ORDER BY doomed_at, file_id LIMIT :batch) r
            JOIN ddm.file f ON f.id = r.file_id) d
     WHERE e.reap_above IS NULL OR e.declared_space_bytes IS NULL
        OR d.before < coalesce(s.used, 0) - e.reap_above * e.declared_space_bytes
""")
_LOCK_DOOMED = text("""
    SELECT r.file_id, r.rse FROM ddm.replica r
      JOIN unnest(CAST(:file_ids AS bigint[]), CAST(:rses AS text[])) AS p(file_id, rse) USING (file_id, rse)
     WHERE r.doomed_at IS NOT NULL ORDER BY r.file_id, r.rse FOR UPDATE OF r SKIP LOCKED
""")
# In a statement of its own after the lock: a transfer that came meanwhile has its hold, and is seen.
# Needed: held by a transfer, or of a dataset and either written there or without another safe copy.
_DECIDE = text("""
    WITH judged AS (
        SELECT r.file_id, r.rse,
               EXISTS (SELECT FROM ddm.hold h WHERE h.file_id = r.file_id AND h.rse = r.rse)
               OR EXISTS (SELECT FROM ddm.content c JOIN ddm.dataset d ON d.id = c.dataset_id
                           WHERE c.file_id = r.file_id AND d.erased_at IS NULL)
                  AND (NOT r.transferred
                       OR NOT EXISTS (SELECT FROM ddm.replica o
                                       WHERE o.file_id = r.file_id AND o.rse <> r.rse
                                         AND o.state = 'AVAILABLE'
                                         AND (o.doomed_at IS NULL OR NOT o.transferred))) AS needed
          FROM ddm.replica r
          JOIN unnest(CAST(:file_ids AS bigint[]), CAST(:rses AS text[])) AS p(file_id, rse) USING (file_id, rse)
    )
    UPDATE ddm.replica r
       SET doomed_at = CASE WHEN j.needed AND r.state <> 'DELETING' THEN NULL ELSE r.doomed_at END,
           state = CASE WHEN j.needed THEN r.state ELSE 'DELETING' END
      FROM judged j, ddm.file f, ddm.rse e
     WHERE r.file_id = j.file_id AND r.rse = j.rse AND f.id = r.file_id AND e.name = r.rse
    RETURNING r.file_id, r.rse, r.state, f.scope, f.name, e.root
""")
_GONE = text("""
    WITH gone AS (
        DELETE FROM ddm.replica r
         USING unnest(CAST(:file_ids AS bigint[]), CAST(:rses AS text[])) AS p(file_id, rse), ddm.file f
         WHERE r.file_id = p.file_id AND r.rse = p.rse AND r.state = 'DELETING' AND f.id = r.file_id
        RETURNING r.rse, f.bytes
    )
    INSERT INTO ddm.space (rse, files, bytes) SELECT rse, -count(*), -sum(bytes) FROM gone GROUP BY rse
""")
_LOCK_FILES = text("SELECT id FROM ddm.file WHERE id = ANY(:file_ids) ORDER BY id FOR UPDATE SKIP LOCKED")
_FORGET_FILES = text("""
    DELETE FROM ddm.file f
     WHERE f.id = ANY(:file_ids)
       AND NOT EXISTS (SELECT FROM ddm.replica r WHERE r.file_id = f.id)
       AND NOT EXISTS (SELECT FROM ddm.content c WHERE c.file_id = f.id)
""")


def reap(engine: Engine) -> int:
    """Delete the bytes of doomed copies that nothing needs; one agent at a time. Returns how many went."""
    with engine.connect() as guard:
        if not guard.execute(_TRY_TURN, {"lock": _REAP_LOCK}).scalar_one():
            return 0
        guard.commit()
        try:
            return _reap(engine)
        finally:
            guard.execute(_END_TURN, {"lock": _REAP_LOCK})
            guard.commit()


def _reap(engine: Engine) -> int:
    rows = run(engine, _decide)
    gone = [row for row in rows if row.state == "DELETING" and _remove(row)]
    pairs = {"file_ids": [row.file_id for row in gone], "rses": [row.rse for row in gone]}

    def work(connection: Connection) -> None:
        locked = connection.execute(_LOCK_FILES, {"file_ids": sorted(set(pairs["file_ids"]))}).scalars().all()
        connection.execute(_GONE, pairs)
        connection.execute(_FORGET_FILES, {"file_ids": list(locked)})

    if gone:
        run(engine, work)
    return len(gone)


def _decide(connection: Connection) -> Sequence[Row[tuple[object, ...]]]:
    doomed = connection.execute(_DOOMED, {"batch": _BATCH}).all()
    if not doomed:
        return []
    pairs = {"file_ids": [row.file_id for row in doomed], "rses": [row.rse for row in doomed]}
    locked = connection.execute(_LOCK_DOOMED, pairs).all()
    pairs = {"file_ids": [row.file_id for row in locked], "rses": [row.rse for row in locked]}
    return connection.execute(_DECIDE, pairs).all()


def _remove(row: Row[tuple[object, ...]]) -> bool:
    """Remove the bytes; a copy on an RSE that is not there now stays for later."""
    if not storage.reachable(row.root):
        return False
    try:
        storage.remove(storage.path_on(row.root, Did(row.scope, row.name)))
    except OSError as error:
        log.warning("cannot delete %s:%s at %s: %s", row.scope, row.name, row.rse, error)
        return False
    return True


# Tidying -------------------------------------------------------------------------------------------------------------

_SPACE_ROWS = text("SELECT count(*) - count(DISTINCT rse) FROM ddm.space")
_FOLD = text("""
    WITH gone AS (DELETE FROM ddm.space RETURNING rse, files, bytes)
    INSERT INTO ddm.space (rse, files, bytes) SELECT rse, sum(files), sum(bytes) FROM gone GROUP BY rse
""")
_PRUNE_EVENTS = text("""
    DELETE FROM ddm.event WHERE seq IN (
        SELECT seq FROM ddm.event WHERE at < now() - interval '7 days' ORDER BY at LIMIT 10000)
""")
_PRUNE_ATTEMPTS = text("""
    DELETE FROM ddm.attempt WHERE id IN (
        SELECT id FROM ddm.attempt WHERE ended_at < now() - interval '31 days' ORDER BY ended_at LIMIT 10000)
""")
_PRUNE_CALLS = text("DELETE FROM ddm.call WHERE at < now() - interval '7 days'")
_PRUNE_AGENTS = text("DELETE FROM ddm.agent WHERE seen_at < now() - interval '1 day'")
_MANY = 100


def tidy(engine: Engine) -> None:
    """Fold the accounts of space; forget old events (7 days), attempts (31 days), calls and agents."""

    def work(connection: Connection) -> None:
        if connection.execute(_SPACE_ROWS).scalar_one() > _MANY:
            connection.execute(_FOLD)
        for statement in (_PRUNE_EVENTS, _PRUNE_ATTEMPTS, _PRUNE_CALLS, _PRUNE_AGENTS):
            connection.execute(statement)

    run(engine, work)
