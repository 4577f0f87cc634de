"""Owns the questions of who watches the copying: tries by link, dataset and file, of one moment. No changes."""

from collections.abc import Mapping

from sqlalchemy import Connection, Engine, RowMapping, text

from panda.ddm.embedded.transactions import run
from panda.ddm.traffic import FILTERS, Bin, Tally, Traffic, TrafficWanted, Try
from panda.domain.pattern import Pattern

# A file that was not tried yet comes from where its only copy is; of several, nobody can tell before it is claimed.
_TRIES = """
    SELECT m.*, COALESCE(f.scope || ':' || f.name, '') AS did, COALESCE(f.name, '') AS file,
           COALESCE(d.name, '') AS dataset
    FROM (
        SELECT a.id, a.transfer_id, a.file_id, a.source_rse AS source, a.rse, a.number, a.bytes, a.seconds, a.error,
               a.queued_at, a.ended_at, CASE WHEN a.error = '' THEN 'done' ELSE 'failed' END AS status
        FROM ddm.attempt a WHERE a.ended_at >= :since AND a.ended_at < :until
      UNION ALL
        SELECT r.id, (SELECT min(h.transfer_id) FROM ddm.hold h WHERE h.file_id = r.file_id AND h.rse = r.rse),
               r.file_id, COALESCE(r.source_only, r.source_rse, (
                   SELECT min(p.rse) FROM ddm.replica p
                   WHERE p.file_id = r.file_id AND p.state = 'AVAILABLE' HAVING count(*) = 1), ''),
               r.rse, r.tries + 1, w.bytes, NULL, r.error, r.created_at, NULL, lower(r.state)
        FROM ddm.request r JOIN ddm.file w ON w.id = r.file_id
    ) m
    LEFT JOIN ddm.file f ON f.id = m.file_id
    LEFT JOIN ddm.transfer t ON t.id = m.transfer_id LEFT JOIN ddm.dataset d ON d.id = t.dataset_id
"""
_CHOSEN = f"SELECT * FROM ({_TRIES}) u WHERE " + " AND ".join(
    f"{name} LIKE ANY (:{name}_in) AND NOT {name} LIKE ANY (:{name}_out)" for name in FILTERS
)
_TALLY = """
    count(*) FILTER (WHERE status = 'done') AS files,
    COALESCE(sum(bytes) FILTER (WHERE status = 'done'), 0)::bigint AS bytes,
    COALESCE(sum(seconds) FILTER (WHERE status = 'done'), 0) AS seconds,
    count(*) FILTER (WHERE status = 'failed') AS failed, count(*) FILTER (WHERE status = 'queued') AS queued,
    count(*) FILTER (WHERE status = 'running') AS running, count(*) FILTER (WHERE status = 'stuck') AS stuck,
    (array_agg(error ORDER BY ended_at DESC NULLS FIRST) FILTER (WHERE error <> ''))[1] AS error
"""
_LINKS = text(f"SELECT source AS of, rse, {_TALLY} FROM ({_CHOSEN}) c GROUP BY 1, 2 ORDER BY 1, 2")
_DATASETS = text(f"""
    SELECT dataset AS of, rse, {_TALLY}, count(*) OVER () AS n FROM ({_CHOSEN}) c GROUP BY 1, 2
    ORDER BY stuck DESC, failed DESC, files DESC, 1, 2 LIMIT :limit
""")
_LISTED = text(f"""
    SELECT * FROM ({_CHOSEN}) c ORDER BY ended_at DESC NULLS FIRST, id DESC LIMIT :limit OFFSET :offset
""")
_BINS = text(f"""
    SELECT LEAST(1 + floor(extract(epoch FROM ended_at - :since) / :width), :bins)::int AS number,
           COALESCE(sum(bytes) FILTER (WHERE status = 'done'), 0)::bigint AS bytes,
           count(*) FILTER (WHERE status = 'done') AS files, count(*) FILTER (WHERE status = 'failed') AS failed
    FROM ({_CHOSEN}) c WHERE ended_at IS NOT NULL GROUP BY 1 ORDER BY 1
""")
_ONE_MOMENT = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


def traffic(engine: Engine, wanted: TrafficWanted) -> Traffic:
    """Tries by link, by dataset, one by one, and over time; see the port."""
    width = (wanted.until - wanted.since).total_seconds() / wanted.bins
    values = {
        "since": wanted.since,
        "until": wanted.until,
        "limit": wanted.limit,
        "offset": wanted.offset,
        "bins": wanted.bins,
        "width": width,
        **_chosen(wanted.filters),
    }
    return run(engine, lambda connection: _read(connection, values))


def _chosen(filters: Mapping[str, Pattern]) -> dict[str, object]:
    values: dict[str, object] = {}
    for name in FILTERS:
        pattern = filters.get(name, Pattern())
        values[f"{name}_in"] = [one.like for one in pattern.wanted] or ["%"]
        values[f"{name}_out"] = [one.like for one in pattern.unwanted]
    return values


def _read(connection: Connection, values: Mapping[str, object]) -> Traffic:
    connection.execute(_ONE_MOMENT)
    links = [_tally(row) for row in connection.execute(_LINKS, values).mappings()]
    datasets = connection.execute(_DATASETS, values).mappings().all()
    return Traffic(
        links=links,
        datasets=[_tally(row) for row in datasets],
        n_datasets=datasets[0]["n"] if datasets else 0,
        tries=[_try(row) for row in connection.execute(_LISTED, values).mappings()],
        total=sum(one.files + one.failed + one.queued + one.running + one.stuck for one in links),
        bins=[Bin(**row) for row in connection.execute(_BINS, values).mappings()],
    )


def _tally(row: RowMapping) -> Tally:
    return Tally(**{name: row[name] for name in Tally.__dataclass_fields__})


def _try(row: RowMapping) -> Try:
    named = {name: row[name] for name in Try.__dataclass_fields__}
    transfer = row["transfer_id"]
    named |= {"file": row["did"] or None, "dataset": row["dataset"] or None}
    return Try(**{**named, "transfer_id": None if transfer is None else str(transfer)})
