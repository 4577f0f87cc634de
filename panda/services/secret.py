"""Users' secrets: sealed in the database, given to their owner and to the owner's jobs that ask for them."""

import json
import logging
from collections.abc import Iterable, Mapping

from sqlalchemy import Connection

from panda.auth.seal import BrokenSealError, key_in, opened, seal
from panda.errors import Conflict, Refused
from panda.services.context import Context
from panda.store import secrets

MOST = 100
LONGEST = 1_400_000
"""Characters of a value: the client's 1000 kB, of files in base64."""

log = logging.getLogger(__name__)


def put(ctx: Context, owner: str, key: str | None, value: str | None) -> None:
    """Keep a secret. Without a value the key is forgotten, without a key everything (wire-protocol.md 7)."""
    if value is not None and len(value) > LONGEST:
        raise Refused(f"the value has {len(value)} characters, at most {LONGEST} are kept", hint="a shorter secret")
    if value is not None and key is None:
        raise Refused("a secret without a key", hint="give it a key")
    with ctx.engine.begin() as connection:
        if value is None or key is None:
            secrets.drop(connection, owner, key)
            return
        known = secrets.names_of(connection, owner)
        if key not in known and len(known) >= MOST:
            raise Refused(f"{owner} has {len(known)} secrets already", hint=f"at most {MOST}: forget some")
        secrets.put(connection, owner, key, seal(key_in(ctx.settings.data_dir), (owner, key), value))


def of(ctx: Context, owner: str) -> Mapping[str, str]:
    """The owner's secrets; raises Conflict for one that cannot be opened (any more)."""
    with ctx.engine.begin() as connection:
        _seal_old(ctx, connection, owner)
        rows = secrets.of(connection, owner)
    key = key_in(ctx.settings.data_dir)
    try:
        return {name: opened(key, (owner, name), sealed) for name, sealed in rows.items()}
    except BrokenSealError as error:
        raise Conflict(
            f"the secrets of {owner} cannot be opened: {error}", hint="forget them all, set them anew"
        ) from error


def _seal_old(ctx: Context, connection: Connection, owner: str) -> None:
    """Seal what an older version kept as it was."""
    for name, plain in secrets.plain_of(connection, owner).items():
        secrets.put(connection, owner, name, seal(key_in(ctx.settings.data_dir), (owner, name), plain))


def for_jobs(ctx: Context, connection: Connection, owners: Iterable[str]) -> dict[str, str]:
    """The secrets of these owners as their jobs get them, JSON text; one that cannot be opened is left out."""
    key = key_in(ctx.settings.data_dir)
    return {owner: json.dumps(_openable(key, owner, secrets.of(connection, owner))) for owner in set(owners)}


def _openable(key: bytes, owner: str, rows: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for name, sealed in rows.items():
        try:
            found[name] = opened(key, (owner, name), sealed)
        except BrokenSealError as error:
            log.warning("secret %r of %s is not given to its jobs: %s", name, owner, error)
    return found
