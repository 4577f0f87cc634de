"""SQL of the grid as it is described: clouds, sites, queues, storages and installed releases."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Table, delete, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from panda.store.schema import cloud, queue, site, site_release, storage

Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class KnownSite:
    """A site that an earlier load stored."""

    id: int
    status: str
    comment: str


@dataclass(frozen=True, slots=True)
class StorageRow:
    """A storage element and its folder."""

    rse: str
    root: str


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A queue with the attributes of its site that pilots ask for."""

    name: str
    site: str
    cloud: str
    tier: int
    rse: str
    software: str
    status: str
    site_status: str
    labels: list[str]
    vos: list[str]
    memory_mb: int
    disk_mb: int
    cores: int
    max_time_s: int
    corepower: float
    reference_mhz: float | None
    time_floor_min: int
    heartbeat_s: int | None


def known_sites(connection: Connection) -> dict[str, KnownSite]:
    """Tell which sites there are; they stay locked, so that nobody changes a status meanwhile."""
    rows = connection.execute(
        select(site.c.name, site.c.id, site.c.status, site.c.comment).order_by(site.c.id).with_for_update()
    )
    return {row.name: KnownSite(row.id, row.status, row.comment) for row in rows}


def upsert(connection: Connection, table: Table, key: str, rows: Sequence[Row]) -> None:
    """Insert rows, or overwrite the columns given for those whose key is known."""
    if not rows:
        return
    statement = insert(table).values([dict(row) for row in rows])
    changed = {name: statement.excluded[name] for name in rows[0] if name != key}
    connection.execute(statement.on_conflict_do_update(index_elements=[key], set_=changed))


def site_ids(connection: Connection) -> dict[str, int]:
    """Tell which id each site has."""
    return {row.name: row.id for row in connection.execute(select(site.c.name, site.c.id))}


def store_sites(connection: Connection, rows: Sequence[Row], known: Collection[str]) -> None:
    """Insert new sites and overwrite known ones.

    Not one INSERT .. ON CONFLICT: that takes an id for every row it only updates, and site ids are small.
    """
    new = [dict(row) for row in rows if row["name"] not in known]
    if new:
        connection.execute(insert(site).values(new).on_conflict_do_nothing())
    for row in rows:
        if row["name"] in known:
            connection.execute(update(site).where(site.c.name == row["name"]).values(**row))


def retire(connection: Connection, table: Table, keep: Sequence[str]) -> None:
    """Set every cloud or queue offline that is not among those to keep."""
    connection.execute(
        update(table).where(table.c.name.not_in(keep), table.c.status != "offline").values(status="offline")
    )


def install(connection: Connection, rows: Sequence[Row]) -> None:
    """Make these (site_id, release, architecture) the installed releases of the sites they name, and of no other."""
    keys = [(row["site_id"], row["release"], row["architecture"]) for row in rows]
    key = tuple_(site_release.c.site_id, site_release.c.release, site_release.c.architecture)
    connection.execute(delete(site_release).where(key.not_in(keys)) if keys else delete(site_release))
    if rows:
        connection.execute(insert(site_release).values([dict(row) for row in rows]).on_conflict_do_nothing())


def storages(connection: Connection) -> list[StorageRow]:
    """Tell which storages there are, and where."""
    rows = connection.execute(select(storage.c.rse, storage.c.root).order_by(storage.c.rse))
    return [StorageRow(row.rse, row.root) for row in rows]


def queues_with_sites(connection: Connection, name: str | None = None) -> list[QueueRow]:
    """Tell the limits of every queue, or of one, and its site's."""
    statement = (
        select(
            queue,
            site.c.name.label("site"),
            site.c.cloud,
            site.c.rse,
            site.c.software,
            site.c.tier,
            site.c.status.label("site_status"),
            cloud.c.tier1,
        )
        .join(site, site.c.id == queue.c.site_id)
        .join(cloud, cloud.c.name == site.c.cloud)
        .order_by(queue.c.name)
    )
    if name is not None:
        statement = statement.where(queue.c.name == name)
    rows = connection.execute(statement).mappings()
    return [QueueRow(**{name: row[name] for name in QueueRow.__slots__}) for row in rows]


def queue_names(connection: Connection) -> list[str]:
    """Tell which queues there are."""
    return list(connection.scalars(select(queue.c.name).order_by(queue.c.name)))


def set_used(connection: Connection, used_gb: Mapping[str, float]) -> int:
    """Note how much lies on storages (GB); returns how many of them are ours."""
    return connection.execute(
        text("""
            UPDATE storage s SET used_gb = u.gb, measured_at = now()
            FROM unnest(CAST(:names AS text[]), CAST(:gb AS float[])) AS u (rse, gb) WHERE s.rse = u.rse
        """),
        {"names": list(used_gb), "gb": list(used_gb.values())},
    ).rowcount
