"""Blocks of tasks whose jobs are in the archive: nobody waits for them, and what they held is to be held otherwise."""

from collections.abc import Sequence

from sqlalchemy import Connection, RowMapping, text

_FREE = """
    (k.kind = 'sub' OR k.state IN ('complete', 'dropped')) AND NOT EXISTS (
        SELECT FROM bunch_block bb JOIN bunch b ON b.id = bb.bunch_id AND b.generation = bb.generation
        WHERE bb.block_id = k.id AND b.open)
"""


def tasks_with_blocks(connection: Connection, after: int, limit: int) -> list[int]:
    """Which archived tasks have blocks, from after one by its id?"""
    query = text("""
        SELECT t.id FROM (SELECT DISTINCT task_id FROM block WHERE task_id > :after) k
        JOIN production_task t ON t.id = k.task_id AND t.archived_at IS NOT NULL
        ORDER BY t.id LIMIT :limit
    """)
    return list(connection.execute(query, {"after": after, "limit": limit}).scalars())


def free_blocks(connection: Connection, task_id: int, limit: int) -> list[RowMapping]:
    """Read the blocks of a task that no bunch of any task waits for."""
    query = text(f"SELECT id, kind, name, rse FROM block k WHERE task_id = :task AND {_FREE} ORDER BY id LIMIT :limit")  # noqa: S608
    return list(connection.execute(query, {"task": task_id, "limit": limit}).mappings())


def forget(connection: Connection, block_ids: Sequence[int]) -> int:
    """Forget blocks that still nobody waits for; returns how many."""
    delete = text(f"DELETE FROM block k WHERE id = ANY(:ids) AND {_FREE}")  # noqa: S608
    return connection.execute(delete, {"ids": list(block_ids)}).rowcount
