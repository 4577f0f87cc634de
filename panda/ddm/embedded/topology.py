"""Owns RSEs, links between them, their use and the quotas on them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from sqlalchemy import Connection, Engine, text

from panda.ddm.embedded import expression, storage
from panda.ddm.embedded.transactions import run
from panda.ddm.errors import NotFound
from panda.ddm.port import BulkResult, RseInfo, RseSpec, Usage

_DECLARE = text("""
    INSERT INTO ddm.rse (name, site, cloud, tier, root, available_read, available_write, declared_space_bytes,
                         max_incoming, max_outgoing, reap_above, attributes)
    VALUES (:name, :site, :cloud, :tier, :root, :available_read, :available_write, :declared_space_bytes,
            :max_incoming, :max_outgoing, :reap_above, CAST(:attributes AS jsonb))
    ON CONFLICT (name) DO UPDATE SET
        site = excluded.site, cloud = excluded.cloud, tier = excluded.tier, root = excluded.root,
        available_read = excluded.available_read, available_write = excluded.available_write,
        declared_space_bytes = excluded.declared_space_bytes, max_incoming = excluded.max_incoming,
        max_outgoing = excluded.max_outgoing, reap_above = excluded.reap_above, attributes = excluded.attributes
""")
_LIST = text("""
    SELECT r.name, r.site, r.cloud, r.tier, r.root, r.available_read, r.available_write, r.declared_space_bytes,
           r.attributes, coalesce(s.files, 0) AS files, coalesce(s.bytes, 0) AS bytes
      FROM ddm.rse r
      LEFT JOIN (SELECT rse, sum(files) AS files, sum(bytes) AS bytes FROM ddm.space GROUP BY rse) s ON s.rse = r.name
     ORDER BY r.name
""")
_ROOT = text("SELECT root FROM ddm.rse WHERE name = :name")
_NAMES = text("SELECT name FROM ddm.rse")
_LINK = text("""
    INSERT INTO ddm.link (source, destination, max_running, bytes_per_second, distance)
    VALUES (:source, :destination, :max_running, :bytes_per_second, :distance)
    ON CONFLICT (source, destination) DO UPDATE SET
        max_running = excluded.max_running, bytes_per_second = excluded.bytes_per_second, distance = excluded.distance
""")
_SET_QUOTA = text("""
    INSERT INTO ddm.quota (account, rse, bytes) VALUES (:account, :rse, :bytes)
    ON CONFLICT (account, rse) DO UPDATE SET bytes = excluded.bytes
""")
_USAGE = text("""
    SELECT coalesce(t.rse, q.rse) AS rse, coalesce(t.bytes, 0) AS bytes, q.bytes AS quota
      FROM (SELECT rse, sum(total_bytes) AS bytes FROM ddm.transfer
             WHERE account = :account AND state IN ('QUEUED', 'MOVING', 'OK', 'STUCK') GROUP BY rse) t
      FULL JOIN (SELECT rse, bytes FROM ddm.quota WHERE account = :account) q USING (rse)
     ORDER BY 1
""")


@dataclass(frozen=True, slots=True)
class Link:
    """What is special about copying between two RSEs: files at once, bytes/s, distance (nearest source first)."""

    source: str
    destination: str
    max_running: int | None = None
    bytes_per_second: int | None = None
    distance: int = 1


def declare(engine: Engine, specs: Sequence[RseSpec]) -> BulkResult[str]:
    """Create or change RSEs; their folders are made where this machine can."""

    def work(connection: Connection) -> None:
        for spec in sorted(specs, key=lambda spec: spec.name):
            connection.execute(
                _DECLARE,
                {
                    "name": spec.name,
                    "site": spec.site,
                    "cloud": spec.cloud,
                    "tier": spec.tier,
                    "root": spec.root,
                    "available_read": spec.available_read,
                    "available_write": spec.available_write,
                    "declared_space_bytes": spec.declared_space_bytes,
                    "max_incoming": spec.max_incoming,
                    "max_outgoing": spec.max_outgoing,
                    "reap_above": spec.reap_above,
                    "attributes": json.dumps(dict(spec.attributes)),
                },
            )

    run(engine, work)
    for spec in specs:
        storage.prepare_root(spec.root)
    return BulkResult([spec.name for spec in specs], [])


def matching(engine: Engine, wanted: str) -> list[RseInfo]:
    """RSEs that match an expression, by name; raises InvalidExpression."""

    def work(connection: Connection) -> list[RseInfo]:
        return [
            RseInfo(
                name=row.name,
                site=row.site,
                cloud=row.cloud,
                tier=row.tier,
                root=row.root,
                available_read=row.available_read,
                available_write=row.available_write,
                declared_space_bytes=row.declared_space_bytes,
                used_bytes=int(row.bytes),
                files=int(row.files),
                attributes=row.attributes,
            )
            for row in connection.execute(_LIST)
        ]

    infos = run(engine, work)
    found = expression.select(
        wanted,
        {i.name: {**i.attributes, "site": i.site, "cloud": i.cloud, "tier": str(i.tier)} for i in infos},
    )
    return [info for info in infos if info.name in found]


def root_of(engine: Engine, rse: str) -> str:
    """The folder of an RSE; raises NotFound that names the nearest one."""

    def work(connection: Connection) -> str:
        root: str | None = connection.execute(_ROOT, {"name": rse}).scalar()
        if root is None:
            raise NotFound(f"the RSE '{rse}' does not exist", nearest(connection, rse))
        return root

    return run(engine, work)


def nearest(connection: Connection, rse: str) -> str:
    """A hint with the RSE whose name is most like this one."""
    close = get_close_matches(rse, connection.execute(_NAMES).scalars().all(), n=1)
    return f"Did you mean {close[0]}?" if close else ""


def declare_links(engine: Engine, links: Sequence[Link]) -> None:
    """Create or change links."""

    def work(connection: Connection) -> None:
        for link in links:
            connection.execute(
                _LINK,
                {
                    "source": link.source,
                    "destination": link.destination,
                    "max_running": link.max_running,
                    "bytes_per_second": link.bytes_per_second,
                    "distance": link.distance,
                },
            )

    run(engine, work)


def set_quota(engine: Engine, account: str, rse: str, limit: int) -> None:
    """Limit the bytes that an account's transfers may hold at an RSE."""
    values = {"account": account, "rse": rse, "bytes": limit}
    run(engine, lambda connection: connection.execute(_SET_QUOTA, values))


def usage_in(connection: Connection, account: str) -> list[Usage]:
    """What an account's live transfers hold, per RSE, in the caller's transaction."""
    rows = connection.execute(_USAGE, {"account": account})
    return [Usage(account, row.rse, int(row.bytes), row.quota) for row in rows]


def usage(engine: Engine, account: str, rse: str | None) -> list[Usage]:
    """What an account's live transfers hold, per RSE."""
    found = run(engine, lambda connection: usage_in(connection, account))
    return [item for item in found if rse in (None, item.rse)]
