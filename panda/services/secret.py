"""Users' secrets: kept per owner, given back to the owner only. Jobs do not get them yet."""

from collections.abc import Mapping

from panda.errors import Refused
from panda.services.context import Context
from panda.store import secrets

MOST = 100
LONGEST = 1_400_000
"""Characters of a value: the client's 1000 kB, of files in base64."""


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
        known = secrets.of(connection, owner)
        if key not in known and len(known) >= MOST:
            raise Refused(f"{owner} has {len(known)} secrets already", hint=f"at most {MOST}: forget some")
        secrets.put(connection, owner, key, value)


def of(ctx: Context, owner: str) -> Mapping[str, str]:
    """The owner's secrets."""
    with ctx.engine.connect() as connection:
        return secrets.of(connection, owner)
