"""SQL of `why` for sites, pilots and datasets, and of what is missing where; changes nothing and locks nothing."""

from collections.abc import Sequence

from sqlalchemy import Connection, RowMapping, text

from panda.store.files import CONTENTS

LOOKED_AT = 200
"""Decisions of brokerage that are looked through for a site, the newest: what was long ago explains nothing now."""


def files_of_block(connection: Connection, block_id: int, limit: int) -> list[RowMapping]:
    """Read the files a block brings: of a `_dis` its own, of a `_sub` the outputs of its bunch at its site."""
    return _all(
        connection,
        """
        SELECT f.scope, f.lfn FROM block_file b
        JOIN dataset_file f ON f.dataset_id = b.dataset_id AND f.ordinal = b.ordinal
        WHERE b.block_id = :block
        UNION ALL
        SELECT o.scope, o.lfn FROM block k JOIN job j ON j.bunch_id = k.bunch_id AND j.site_id = k.site_id
        JOIN job_output o ON o.job_id = j.id WHERE k.id = :block AND k.kind = 'sub'
        LIMIT :limit
        """,
        block=block_id,
        limit=limit,
    )


def shares_ahead(connection: Connection, site_id: int, priority: int, limit: int) -> list[RowMapping]:
    """Count the jobs of each share that are ready at a site with a higher priority (of each class at most `limit`)."""
    return _all(
        connection,
        """
        SELECT n.share, sum(few.n)::bigint AS jobs
        FROM requirement_class c JOIN needs n ON n.id = c.needs_id
        CROSS JOIN LATERAL (SELECT count(*) AS n FROM (
            SELECT 1 FROM ready r WHERE r.class_id = c.id AND -r.priority < -:priority LIMIT :limit) x) few
        WHERE c.site_id = :site AND few.n > 0 GROUP BY n.share ORDER BY 2 DESC, 1
        """,
        site=site_id,
        priority=priority,
        limit=limit,
    )


def last_word(connection: Connection, kind: str, about: str) -> RowMapping | None:
    """Read what was last written down about something: who did it, and when."""
    return _first(
        connection,
        "SELECT at, text FROM incident WHERE kind = :kind AND object = :about ORDER BY at DESC, id DESC LIMIT 1",
        kind=kind,
        about=about,
    )


def decisions_about(connection: Connection, site: str, hours: float) -> list[RowMapping]:
    """Read what the newest decisions of brokerage said of a site, the newest first."""
    return _all(
        connection,
        """
        SELECT d.at, d.task_id, d.bunch_id, d.chosen, c.candidate
        FROM (SELECT * FROM brokerage_decision WHERE bunch_id IS NOT NULL ORDER BY id DESC LIMIT :most) d
        CROSS JOIN LATERAL jsonb_array_elements(d.decision -> 'candidates') AS c(candidate)
        WHERE c.candidate ->> 'name' = :site AND d.at > now() - make_interval(secs => :seconds) ORDER BY d.id DESC
        """,
        site=site,
        most=LOOKED_AT,
        seconds=hours * 3600,
    )


def blocks_at(connection: Connection, site_id: int, limit: int) -> list[RowMapping]:
    """Read the blocks on their way to or from a site, stuck ones first, then the oldest."""
    return _all(
        connection,
        f"""
        SELECT k.id, k.kind, k.name, k.rse, k.state, k.created_at, k.since, contents.n_files, contents.bytes,
               k.transfer_id, k.error, count(*) OVER () AS all_of_them
        FROM block k {CONTENTS}
        WHERE k.site_id = :site AND k.state IN ('planned', 'requested', 'stuck')
        ORDER BY (k.state = 'stuck') DESC, k.id LIMIT :limit
        """,  # noqa: S608 - a constant
        site=site_id,
        limit=limit,
    )


def waiting_at(connection: Connection, site_id: int) -> list[RowMapping]:
    """Tell how many bunches and jobs wait at a site, by state, and since when the oldest."""
    return _all(
        connection,
        """
        SELECT b.state, count(*) AS bunches, sum(waiting.n)::bigint AS jobs, min(b.since) AS oldest
        FROM bunch b
        CROSS JOIN LATERAL (SELECT count(*) AS n FROM job j WHERE j.bunch_id = b.id AND j.status IS NULL) waiting
        WHERE b.site_id = :site AND b.open AND waiting.n > 0 GROUP BY b.state ORDER BY b.state
        """,
        site=site_id,
    )


def pilot(connection: Connection, factory: str, worker_id: int) -> RowMapping | None:
    """Read a pilot with its queue and site."""
    return _first(
        connection,
        """
        SELECT w.*, q.status AS queue_status, q.site_id, s.name AS site, s.status AS site_status, s.comment,
               a.last_get_job, a.last_update_job
        FROM worker w LEFT JOIN queue q ON q.name = w.queue LEFT JOIN site s ON s.id = q.site_id
        LEFT JOIN pilot_activity a ON a.site_id = q.site_id AND a.node = w.node
        WHERE w.factory = :factory AND w.worker_id = :worker
        """,
        factory=factory,
        worker=worker_id,
    )


def hand_of(connection: Connection, factory: str, worker_id: int) -> list[RowMapping]:
    """Read the jobs in a pilot's hand."""
    return _all(
        connection,
        """
        SELECT h.job_id, h.since, h.last_seen, h.command, j.status, j.task_id
        FROM in_hand h JOIN job j ON j.id = h.job_id
        WHERE h.factory = :factory AND h.worker_id = :worker ORDER BY h.job_id
        """,
        factory=factory,
        worker=worker_id,
    )


def dataset(connection: Connection, name: str) -> RowMapping | None:
    """Read a dataset that PanDA knows, with the task that makes it."""
    return _first(
        connection,
        """
        SELECT d.*, t.name AS task_name, t.stage, t.waits_for FROM dataset d
        LEFT JOIN production_task t ON t.id = d.task_id WHERE d.name = :name
        """,
        name=name,
    )


def outputs_by_state(connection: Connection, dataset_id: int) -> list[RowMapping]:
    """Tell how far the files of an output dataset are: transferring, ready or attached; and since when the oldest."""
    return _all(
        connection,
        """
        SELECT o.state, count(*) AS n, COALESCE(sum(o.bytes), 0)::bigint AS bytes FROM job_output o
        WHERE o.dataset_id = :dataset GROUP BY o.state ORDER BY o.state
        """,
        dataset=dataset_id,
    )


def readers(connection: Connection, name: str) -> list[RowMapping]:
    """Tell which tasks read a dataset."""
    return _all(
        connection,
        """
        SELECT t.id, t.name, t.stage, t.waits_for FROM task_input i JOIN production_task t ON t.id = i.task_id
        WHERE i.dataset = :name ORDER BY t.id
        """,
        name=name,
    )


def alike(connection: Connection, name: str) -> Sequence[str]:
    """Name the datasets that look most like a name."""
    query = "SELECT name FROM dataset ORDER BY similarity(name, :name) DESC, id DESC LIMIT 3"
    return [row["name"] for row in _all(connection, query, name=name)]


def _first(connection: Connection, statement: str, **values: object) -> RowMapping | None:
    return connection.execute(text(statement), values).mappings().first()


def _all(connection: Connection, statement: str, **values: object) -> list[RowMapping]:
    return list(connection.execute(text(statement), values).mappings())
