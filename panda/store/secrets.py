"""SQL of users' secrets: each belongs to one owner and is read by nobody else."""

from collections.abc import Mapping

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from panda.store.schema import user_secret


def names_of(connection: Connection, owner: str) -> set[str]:
    """Which secrets has this owner?"""
    return set(connection.execute(select(user_secret.c.key).where(user_secret.c.owner == owner)).scalars())


def of(connection: Connection, owner: str) -> Mapping[str, str]:
    """What are this owner's sealed secrets, by name?"""
    return _values(connection, owner, sealed=True)


def plain_of(connection: Connection, owner: str) -> Mapping[str, str]:
    """Which of this owner's secrets lie open yet, as an older version kept them, by name?"""
    return _values(connection, owner, sealed=False)


def _values(connection: Connection, owner: str, *, sealed: bool) -> Mapping[str, str]:
    query = select(user_secret.c.key, user_secret.c.value).where(user_secret.c.owner == owner)
    rows = connection.execute(query.where(user_secret.c.sealed.is_(sealed)).order_by(user_secret.c.key))
    return {row.key: row.value for row in rows}


def put(connection: Connection, owner: str, key: str, sealed: str) -> None:
    """Keep a sealed secret; one of the same key is replaced."""
    query = insert(user_secret).values(owner=owner, key=key, value=sealed, sealed=True)
    values = {"value": sealed, "sealed": True, "set_at": func.now()}
    connection.execute(query.on_conflict_do_update(index_elements=["owner", "key"], set_=values))


def drop(connection: Connection, owner: str, key: str | None) -> None:
    """Forget one secret, or without a key all of the owner's."""
    query = delete(user_secret).where(user_secret.c.owner == owner)
    connection.execute(query if key is None else query.where(user_secret.c.key == key))
