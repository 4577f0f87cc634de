"""Blocks that nobody waits for any more, and blocks that can never come: cancelled here, then forgotten by the DDM.

The states: `planned`, `requested`, `stuck` or, once the DDM gave it up, any of these -> `cancelled` -> `dropped` (the
DDM was told). A bunch that waits for a cancelled block goes back to brokerage.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, RowMapping, text

_UNUSED = """
    k.kind = 'dis' AND k.state IN ('planned', 'requested', 'stuck')
    AND NOT EXISTS (
        SELECT 1 FROM bunch_block bb JOIN bunch b ON b.id = bb.bunch_id AND b.generation = bb.generation
        WHERE bb.block_id = k.id AND b.open)
"""


def cancel_unused(connection: Connection, limit: int, task_id: int | None = None) -> int:
    """Cancel dispatch blocks (of a task, or of any) that no live bunch of any task waits for; returns how many.

    They are looked at again once they are locked, so that a bunch that has just begun to wait for one is seen.
    """
    found = connection.execute(
        text(f"""
            SELECT id FROM block WHERE id IN (
                SELECT k.id FROM block k
                WHERE (CAST(:task AS bigint) IS NULL OR k.task_id = :task) AND {_UNUSED} ORDER BY k.id LIMIT :limit)
            ORDER BY id FOR UPDATE
        """),  # noqa: S608 - a constant of this file
        {"task": task_id, "limit": limit},
    )
    ids = list(found.scalars())
    if not ids:
        return 0
    return connection.execute(
        text(f"UPDATE block k SET state = 'cancelled', since = now() WHERE k.id = ANY(:ids) AND {_UNUSED}"),  # noqa: S608
        {"ids": ids},
    ).rowcount


def give_up(connection: Connection, transfers: dict[str, str]) -> int:
    """Cancel the dispatch blocks of transfers that the DDM has ended, each with its reason; returns how many."""
    ids = sorted(transfers)
    connection.execute(
        text("SELECT id FROM block WHERE transfer_id = ANY(:transfers) ORDER BY id FOR UPDATE"), {"transfers": ids}
    )
    return connection.execute(
        text("""
            UPDATE block k SET state = 'cancelled', since = now(), error = u.error
            FROM unnest(CAST(:transfers AS text[]), CAST(:errors AS text[])) AS u (transfer_id, error)
            WHERE k.transfer_id = u.transfer_id AND k.kind = 'dis' AND k.state IN ('requested', 'stuck')
        """),
        {"transfers": ids, "errors": [transfers[one][:1000] for one in ids]},
    ).rowcount


def subs_of(connection: Connection, transfers: Sequence[str]) -> list[RowMapping]:
    """Which sub-datasets do these transfers carry?"""
    query = text("SELECT id, name, rse, task_id FROM block WHERE transfer_id = ANY(:transfers) AND kind = 'sub'")
    return list(connection.execute(query, {"transfers": list(transfers)}).mappings())


def carry_again(connection: Connection, block_id: int, transfer_id: str) -> None:
    """Note the new transfer of a sub-dataset whose last one the DDM has ended."""
    connection.execute(
        text("""
            UPDATE block SET state = 'requested', since = now(), transfer_id = :transfer, error = NULL
            WHERE id = :block AND kind = 'sub'
        """),
        {"block": block_id, "transfer": transfer_id},
    )


def waiting_in_vain(connection: Connection, limit: int) -> list[RowMapping]:
    """Which bunches wait for a block that was cancelled, and why was it?"""
    query = text("""
        SELECT b.id, b.task_id, min(COALESCE(k.error, 'its block was cancelled')) AS why
        FROM bunch b JOIN bunch_block bb ON bb.bunch_id = b.id AND bb.generation = b.generation
        JOIN block k ON k.id = bb.block_id AND k.state IN ('cancelled', 'dropped')
        WHERE b.open AND b.state = 'assigned' AND b.staged GROUP BY b.id, b.task_id ORDER BY b.id LIMIT :limit
    """)
    return list(connection.execute(query, {"limit": limit}).mappings())


def to_forget(connection: Connection, after: int, limit: int) -> list[RowMapping]:
    """Which cancelled blocks does the DDM still move, as far as it was told, from after one by its id?"""
    query = text("""
        SELECT id, transfer_id FROM block
        WHERE state = 'cancelled' AND transfer_id IS NOT NULL AND id > :after ORDER BY id LIMIT :limit
    """)
    return list(connection.execute(query, {"after": after, "limit": limit}).mappings())


def dropped(connection: Connection, ids: Sequence[int]) -> None:
    """Note that the DDM was told to forget these blocks."""
    connection.execute(
        text("UPDATE block SET state = 'dropped', since = now() WHERE id = ANY(:ids) AND state = 'cancelled'"),
        {"ids": list(ids)},
    )
