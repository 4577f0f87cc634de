"""Dispatch blocks (`_dis`) and sub-datasets (`_sub`): the intent, stored before the DDM is asked, and its answer."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, text


@dataclass(frozen=True, slots=True)
class BlockFile:
    """A file of a block: its dataset of ours and its number in there."""

    dataset_id: int
    ordinal: int
    bytes: int


def bunches_to_stage(connection: Connection, task_id: int, limit: int) -> list[RowMapping]:
    """Which bunches of a task have a site but no blocks yet?"""
    return list(
        connection.execute(
            text("""
                SELECT b.id, b.generation, b.site_id, b.n_jobs, s.rse, s.name AS site
                FROM bunch b JOIN site s ON s.id = b.site_id
                WHERE b.task_id = :task AND b.open AND b.state = 'assigned' AND NOT b.staged
                ORDER BY b.id LIMIT :limit
            """),
            {"task": task_id, "limit": limit},
        ).mappings()
    )


def lock_unstaged(connection: Connection, bunches: Sequence[RowMapping]) -> set[int]:
    """Lock bunches for staging, in order; those that somebody staged or moved meanwhile are not among them."""
    found = connection.execute(
        text("""
            SELECT b.id FROM bunch b
            JOIN unnest(CAST(:bunches AS bigint[]), CAST(:generations AS int[])) AS u (id, generation)
              ON u.id = b.id AND u.generation = b.generation
            WHERE b.state = 'assigned' AND NOT b.staged ORDER BY b.id FOR NO KEY UPDATE OF b
        """),
        {"bunches": [row["id"] for row in bunches], "generations": [row["generation"] for row in bunches]},
    )
    return set(found.scalars())


def in_flight(connection: Connection, rse: str, files: Sequence[BlockFile]) -> dict[tuple[int, int], int]:
    """Which of these files are already on their way to an RSE, and in which block? Nobody cancels these meanwhile."""
    rows = connection.execute(
        text("""
            SELECT f.dataset_id, f.ordinal, k.id AS block_id
            FROM unnest(CAST(:datasets AS int[]), CAST(:ordinals AS int[])) AS u (dataset_id, ordinal)
            JOIN block_file f ON f.dataset_id = u.dataset_id AND f.ordinal = u.ordinal
            JOIN block k ON k.id = f.block_id
            WHERE k.rse = :rse AND k.kind = 'dis' AND k.state IN ('planned', 'requested', 'stuck')
            ORDER BY k.id FOR SHARE OF k
        """),
        {"rse": rse, "datasets": [one.dataset_id for one in files], "ordinals": [one.ordinal for one in files]},
    )
    return {(row.dataset_id, row.ordinal): row.block_id for row in rows}


def add_block(
    connection: Connection, *, name: str, kind: str, task_id: int, site_id: int, rse: str, bunch_id: int
) -> int:
    """Store the intent of a block."""
    number: int = connection.execute(
        text("""
            INSERT INTO block (name, kind, task_id, site_id, rse, bunch_id)
            VALUES (:name, :kind, :task, :site, :rse, :bunch) RETURNING id
        """),
        {"name": name, "kind": kind, "task": task_id, "site": site_id, "rse": rse, "bunch": bunch_id},
    ).scalar_one()
    return number


def fill_block(connection: Connection, block_id: int, files: Sequence[BlockFile]) -> None:
    """List the files of a block."""
    connection.execute(
        text("""
            INSERT INTO block_file (block_id, dataset_id, ordinal)
            SELECT :block, d, o FROM unnest(CAST(:datasets AS int[]), CAST(:ordinals AS int[])) AS u (d, o)
        """),
        {"block": block_id, "datasets": [one.dataset_id for one in files], "ordinals": [one.ordinal for one in files]},
    )
    connection.execute(
        text("UPDATE block SET n_files = :n, bytes = :bytes WHERE id = :block"),
        {"n": len(files), "bytes": sum(one.bytes for one in files), "block": block_id},
    )


def wait_for(connection: Connection, bunch_id: int, generation: int, blocks: Sequence[int]) -> None:
    """Say which blocks a bunch needs."""
    connection.execute(
        text("""
            INSERT INTO bunch_block (bunch_id, generation, block_id)
            SELECT :b, :g, k FROM unnest(CAST(:blocks AS bigint[])) AS k ORDER BY k ON CONFLICT DO NOTHING
        """),
        {"b": bunch_id, "g": generation, "blocks": sorted(set(blocks))},
    )


def settle(connection: Connection, bunches: Sequence[int]) -> None:
    """Say that the staging of bunches is settled: what they wait for is written down."""
    connection.execute(text("UPDATE bunch SET staged = true WHERE id = ANY(:bunches)"), {"bunches": list(bunches)})


def planned(connection: Connection, task_id: int | None, after: int, limit: int) -> list[RowMapping]:
    """Which blocks has the DDM not been asked for yet, from after one by its id?"""
    return list(
        connection.execute(
            text("""
                SELECT k.id, k.name, k.rse, k.task_id, t.priority, t.label
                FROM block k JOIN production_task t ON t.id = k.task_id
                WHERE k.state = 'planned' AND k.kind = 'dis' AND k.id > :after
                  AND (CAST(:task AS bigint) IS NULL OR k.task_id = :task)
                ORDER BY k.id LIMIT :limit
            """),
            {"task": task_id, "limit": limit, "after": after},
        ).mappings()
    )


def files_of_block(connection: Connection, block_id: int) -> list[RowMapping]:
    """Which files does a block hold?"""
    return list(
        connection.execute(
            text("""
                SELECT f.scope, f.lfn FROM block_file b
                JOIN dataset_file f ON f.dataset_id = b.dataset_id AND f.ordinal = b.ordinal
                WHERE b.block_id = :block ORDER BY b.dataset_id, b.ordinal
            """),
            {"block": block_id},
        ).mappings()
    )


def set_requested(connection: Connection, block_id: int, transfer_id: str) -> None:
    """Note that the DDM took a block over; one that was cancelled meanwhile keeps the transfer that has to end."""
    connection.execute(
        text("""
            UPDATE block SET state = CASE state WHEN 'planned' THEN 'requested' ELSE state END, since = now(),
                   transfer_id = :transfer, error = NULL
            WHERE id = :block AND state IN ('planned', 'cancelled')
        """),
        {"block": block_id, "transfer": transfer_id},
    )


def set_error(connection: Connection, block_id: int, error: str) -> None:
    """Note why the DDM did not take a block, or what its last transfer error was."""
    connection.execute(
        text("UPDATE block SET error = :error WHERE id = :block"), {"block": block_id, "error": error[:1000]}
    )


_STATE = text("""
    UPDATE block SET state = CASE WHEN transfer_id = ANY(:complete) THEN 'complete' ELSE 'stuck' END,
           since = now(),
           error = CASE WHEN transfer_id = ANY(:complete) THEN NULL ELSE COALESCE(:error, error) END
    WHERE id IN (SELECT id FROM block WHERE transfer_id = ANY(:transfers) AND state IN ('requested', 'stuck')
                 ORDER BY id FOR UPDATE)
      AND (state = 'requested' OR (state = 'stuck' AND transfer_id = ANY(:complete)))
    RETURNING id, kind
""")


def mark(connection: Connection, complete: Sequence[str], stuck: Sequence[str], error: str | None = None) -> list[int]:
    """Note what the DDM says of its transfers; returns the blocks that changed. A complete block stays complete."""
    rows = connection.execute(
        _STATE, {"complete": list(complete), "transfers": [*complete, *stuck], "error": error}
    ).all()
    return [row.id for row in rows]


def bunches_of_transfers(connection: Connection, transfers: Sequence[str]) -> list[int]:
    """Which assigned bunches wait for the blocks of these transfers?"""
    rows = connection.execute(
        text("""
            SELECT DISTINCT b.id FROM block k JOIN bunch_block bb ON bb.block_id = k.id
            JOIN bunch b ON b.id = bb.bunch_id AND b.generation = bb.generation
            WHERE k.transfer_id = ANY(:transfers) AND b.state = 'assigned' ORDER BY b.id
        """),
        {"transfers": list(transfers)},
    )
    return list(rows.scalars())


def assigned_bunches(connection: Connection, after: int, limit: int) -> list[int]:
    """Which staged bunches still wait, from after one by its id?"""
    query = text("""
        SELECT id FROM bunch WHERE open AND state = 'assigned' AND staged AND id > :after ORDER BY id LIMIT :limit
    """)
    return list(connection.execute(query, {"after": after, "limit": limit}).scalars())


def open_blocks(connection: Connection, after: int, limit: int) -> list[tuple[int, str]]:
    """Which blocks have transfers that were not reported complete, from after one by its id?"""
    query = text("""
        SELECT id, transfer_id FROM block
        WHERE state IN ('requested', 'stuck') AND transfer_id IS NOT NULL AND id > :after ORDER BY id LIMIT :limit
    """)
    return [(row.id, row.transfer_id) for row in connection.execute(query, {"after": after, "limit": limit})]


def sub_block(connection: Connection, bunch_id: int, site_id: int) -> RowMapping | None:
    """Find the sub-dataset that collects a bunch's outputs at one site."""
    return (
        connection.execute(
            text("""
                SELECT * FROM block WHERE bunch_id = :bunch AND site_id = :site AND kind = 'sub' ORDER BY id LIMIT 1
            """),
            {"bunch": bunch_id, "site": site_id},
        )
        .mappings()
        .one_or_none()
    )


def blocks_of_task(connection: Connection, task_id: int) -> list[RowMapping]:
    """Read all blocks of a task."""
    return list(
        connection.execute(text("SELECT * FROM block WHERE task_id = :t ORDER BY id"), {"t": task_id}).mappings()
    )


def read_cursor(connection: Connection, name: str) -> int:
    """How far has a feed been read?"""
    query = text("SELECT seq FROM feed_cursor WHERE name = :name")
    return connection.execute(query, {"name": name}).scalar_one_or_none() or 0


def set_cursor(connection: Connection, name: str, seq: int) -> None:
    """Note where a sweep goes on, which may be the beginning."""
    connection.execute(
        text("""
            INSERT INTO feed_cursor (name, seq) VALUES (:name, :seq)
            ON CONFLICT (name) DO UPDATE SET seq = excluded.seq, at = now()
        """),
        {"name": name, "seq": seq},
    )


def move_cursor(connection: Connection, name: str, seq: int) -> None:
    """Note how far a feed was read; a slower reader never takes it back."""
    connection.execute(
        text("""
            INSERT INTO feed_cursor (name, seq) VALUES (:name, :seq)
            ON CONFLICT (name) DO UPDATE SET seq = GREATEST(feed_cursor.seq, excluded.seq), at = now()
        """),
        {"name": name, "seq": seq},
    )


def add_sub(
    connection: Connection, *, name: str, task_id: int, site_id: int, rse: str, bunch_id: int, transfer_id: str
) -> None:
    """Note the sub-dataset that carries a bunch's outputs, and its transfer."""
    connection.execute(
        text("""
            INSERT INTO block (name, kind, task_id, site_id, rse, bunch_id, transfer_id, state)
            VALUES (:name, 'sub', :task, :site, :rse, :bunch, :transfer, 'requested') ON CONFLICT (name) DO NOTHING
        """),
        {
            "name": name,
            "task": task_id,
            "site": site_id,
            "rse": rse,
            "bunch": bunch_id,
            "transfer": transfer_id,
        },
    )
