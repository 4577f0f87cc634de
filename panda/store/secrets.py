"""SQL of users' secrets: each belongs to one owner and is read by nobody else."""

from collections.abc import Mapping

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from panda.store.schema import user_secret


def of(connection: Connection, owner: str) -> Mapping[str, str]:
    """Which secrets has this owner?"""
    query = select(user_secret.c.key, user_secret.c.value).where(user_secret.c.owner == owner)
    return {row.key: row.value for row in connection.execute(query.order_by(user_secret.c.key))}


def put(connection: Connection, owner: str, key: str, value: str) -> None:
    """Keep a secret; one of the same key is replaced."""
    query = insert(user_secret).values(owner=owner, key=key, value=value)
    values = {"value": value, "set_at": func.now()}
    connection.execute(query.on_conflict_do_update(index_elements=["owner", "key"], set_=values))


def drop(connection: Connection, owner: str, key: str | None) -> None:
    """Forget one secret, or without a key all of the owner's."""
    query = delete(user_secret).where(user_secret.c.owner == owner)
    connection.execute(query if key is None else query.where(user_secret.c.key == key))
