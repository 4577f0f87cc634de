"""SQL of the cache of users' files: what was uploaded by whom, what is the same, what nobody has used for long."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Connection, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from panda.store.schema import cache_file


def add(connection: Connection, name: str, owner: str, size: int, checksum: int | None) -> bool:
    """Is this name free? Then it is taken; of two who ask at once the second waits for the first and hears no."""
    query = insert(cache_file).values(name=name, owner=owner, bytes=size, checksum=checksum).on_conflict_do_nothing()
    return connection.execute(query).rowcount == 1


def replace(connection: Connection, name: str, owner: str, size: int, checksum: int | None) -> bool:
    """Is this name free or the owner's own? Then it stands for new contents."""
    values = {"owner": owner, "bytes": size, "checksum": checksum, "uploaded_at": func.now(), "used_at": func.now()}
    query = insert(cache_file).values(name=name, **values)
    query = query.on_conflict_do_update(index_elements=["name"], set_=values, where=cache_file.c.owner == owner)
    return connection.execute(query).rowcount == 1


def same_contents(connection: Connection, owner: str, size: int, checksum: int) -> str | None:
    """Which file of this owner has the same size and checksum? It counts as used now."""
    c = cache_file.c
    query = select(c.name).where(c.owner == owner, c.bytes == size, c.checksum == checksum)
    name = connection.scalar(query.order_by(c.uploaded_at.desc()).limit(1))
    if name is not None:
        connection.execute(update(cache_file).where(c.name == name).values(used_at=func.now()))
    return name


def touch(connection: Connection, name: str) -> bool:
    """Is this file known? It counts as used now, at most once an hour."""
    known = connection.scalar(select(cache_file.c.name).where(cache_file.c.name == name)) is not None
    query = update(cache_file).where(cache_file.c.name == name, cache_file.c.used_at < func.now() - timedelta(hours=1))
    if known:
        connection.execute(query.values(used_at=func.now()))
    return known


def unused(connection: Connection, days: float, limit: int) -> list[str]:
    """Which files has nobody used for so many days, and no task that is not final names them? Their rows are locked."""
    query = text("""
        SELECT name FROM cache_file f
        WHERE used_at < now() - make_interval(secs => :seconds) AND NOT EXISTS (
            SELECT 1 FROM production_task t
            WHERE t.stage NOT IN ('done', 'finished', 'failed', 'aborted') AND position(f.name IN t.parameters) > 0)
        ORDER BY used_at LIMIT :limit FOR UPDATE SKIP LOCKED
    """)
    return list(connection.execute(query, {"seconds": days * 86_400, "limit": limit}).scalars())


def forget(connection: Connection, names: Sequence[str]) -> None:
    """Forget files that are gone."""
    connection.execute(cache_file.delete().where(cache_file.c.name.in_(names)))
