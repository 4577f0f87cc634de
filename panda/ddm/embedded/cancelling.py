"""Owns the end of transfers: their holds are given up, requests nobody waits for dropped, unneeded copies doomed."""

from collections.abc import Sequence

from sqlalchemy import Connection, text

# Who attaches or asks holds the dataset's row too: no hold can come to a transfer that ends.
_LOCK_DATASETS = text("""
    SELECT id FROM ddm.dataset WHERE id IN (SELECT dataset_id FROM ddm.transfer WHERE id = ANY(:ids))
     ORDER BY id FOR NO KEY UPDATE
""")
_LOCK_REQUESTS = text("""
    SELECT r.id FROM ddm.request r
     WHERE (r.file_id, r.rse) IN (
         SELECT c.file_id, t.rse FROM ddm.transfer t JOIN ddm.content c ON c.dataset_id = t.dataset_id
          WHERE t.id = ANY(:ids))
     ORDER BY r.id FOR UPDATE
""")
_GIVE_UP = text("""
    WITH gone AS (DELETE FROM ddm.hold WHERE transfer_id = ANY(:ids) RETURNING file_id, rse)
    UPDATE ddm.replica r SET doomed_at = now()
      FROM (SELECT DISTINCT file_id, rse FROM gone) g
     WHERE r.file_id = g.file_id AND r.rse = g.rse AND r.transferred AND r.doomed_at IS NULL
       AND NOT EXISTS (SELECT FROM ddm.hold h
                        WHERE h.file_id = r.file_id AND h.rse = r.rse AND h.transfer_id <> ALL(:ids))
""")
_DROP = text("""
    DELETE FROM ddm.request r
     WHERE r.id = ANY(:request_ids)
       AND NOT EXISTS (SELECT FROM ddm.hold h WHERE h.file_id = r.file_id AND h.rse = r.rse AND h.state <> 'OK')
""")
_END = text("""
    UPDATE ddm.transfer SET state = :state, updated_at = clock_timestamp()
     WHERE id IN (SELECT id FROM ddm.transfer WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE)
       AND state IN ('QUEUED', 'MOVING', 'OK', 'STUCK')
""")


def end(connection: Connection, ids: Sequence[int], state: str) -> None:
    """End these transfers as CANCELLED or EXPIRED, in the caller's transaction."""
    if not ids:
        return
    values = {"ids": list(ids)}
    connection.execute(_LOCK_DATASETS, values)
    connection.execute(_LOCK_REQUESTS, values)
    connection.execute(_GIVE_UP, values)
    connection.execute(_END, {**values, "state": state})
    # Once more: a copy may have been lost, and asked for again, while the holds were waited for. Whether somebody else
    # waits for a request is asked in a statement of its own after the lock, which sees what was committed meanwhile.
    requests = connection.execute(_LOCK_REQUESTS, values).scalars().all()
    connection.execute(_DROP, {"request_ids": list(requests)})
