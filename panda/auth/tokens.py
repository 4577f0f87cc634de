"""From a bearer token and the Origin beside it to an Identity (wire-protocol.md 3).

The token's form, time and claims are checked, its signature is not: whoever serves must take such tokens from loopback
only. A token that cannot be read makes nobody, never the identity one would have without it.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from datetime import datetime

from panda.auth.identity import Identity, Role
from panda.errors import Forbidden

NAME_LENGTH = 255
LEEWAY_S = 60
MOST_GROUPS = 1000
_PARTS = 3

# What the role beside a VO makes of its holder. Harvester and pilots of a VO come as its production role, as in PanDA.
ROLES: Mapping[str, frozenset[Role]] = {
    "": frozenset({Role.USER}),
    "user": frozenset({Role.USER}),
    "production": frozenset({Role.USER, Role.PRODUCTION_MANAGER, Role.PILOT, Role.FACTORY}),
    "pilot": frozenset({Role.PILOT}),
    "harvester": frozenset({Role.PILOT, Role.FACTORY}),
}


def identity_of(authorization: str, origin: str, now: datetime) -> Identity:
    """Read an `Authorization` header and an `Origin` (`vo`, `vo:role`, `vo.role`); raises Forbidden that says why not.

    Claims: `name`, `preferred_username` (the nickname), `groups`. Without an Origin the VO is unknown.
    """
    scheme, _, token = authorization.strip().partition(" ")
    if scheme.lower() != "bearer":
        raise Forbidden(f"authorization by {scheme[:20]!r} is not served", hint="Authorization: Bearer <token>")
    claims = _claims(token.strip())
    _check_time(claims, now)
    nickname = _text(claims, "preferred_username")
    name = _text(claims, "name") or nickname or _text(claims, "sub")
    if not name:
        raise Forbidden("the token names nobody", hint="it needs a claim 'name', 'preferred_username' or 'sub'")
    vo, roles = _vo_and_roles(origin)
    return Identity(name, roles, "shows a token (signature not verified)", vo, nickname or name, _groups(claims))


def _claims(token: str) -> Mapping[str, object]:
    parts = token.split(".")
    if len(parts) != _PARTS or not parts[1]:
        raise Forbidden(f"the token has {len(parts)} parts, not 3", hint="send a JWT: header.claims.signature")
    try:
        for part in parts[:2]:
            claims = json.loads(base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        raise Forbidden("the token cannot be read", hint="header and claims are JSON in base64url") from None
    if not isinstance(claims, dict):
        raise Forbidden("the token's claims are no JSON object", hint='{"name": ..., "preferred_username": ...}')
    return claims


def _check_time(claims: Mapping[str, object], now: datetime) -> None:
    ends, begins = (_seconds(claims, one) for one in ("exp", "nbf"))
    if ends is not None and now.timestamp() > ends + LEEWAY_S:
        raise Forbidden("the token has expired", hint="get a new one")
    if begins is not None and now.timestamp() < begins - LEEWAY_S:
        raise Forbidden("the token is not valid yet", hint="compare the clocks")


def _seconds(claims: Mapping[str, object], key: str) -> float | None:
    value = claims.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Forbidden(f"the token's claim {key!r} is no time", hint="seconds since 1970, a number")
    return float(value)


def _text(claims: Mapping[str, object], key: str) -> str:
    value = claims.get(key)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > NAME_LENGTH or not value.isprintable():
        raise Forbidden(
            f"the token's claim {key!r} is no name", hint=f"printable text, at most {NAME_LENGTH} characters"
        )
    return value.strip()


def _groups(claims: Mapping[str, object]) -> tuple[str, ...]:
    value = claims.get("groups")
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MOST_GROUPS or not all(isinstance(one, str) for one in value):
        raise Forbidden("the token's claim 'groups' is no list of names", hint='e.g. ["atlas", "atlas/production"]')
    return tuple(value)


def _vo_and_roles(origin: str) -> tuple[str | None, frozenset[Role]]:
    """A word after the last colon must be a role; after the last dot it is one if we know it, else part of the VO."""
    if len(origin) > NAME_LENGTH or not origin.isprintable():
        raise Forbidden("the Origin is no VO", hint="Origin: <vo> or <vo>:<role>")
    vo, colon, role = origin.strip().rpartition(":")
    if colon and role not in ROLES:
        known = ", ".join(sorted(filter(None, ROLES)))
        raise Forbidden(f"role {role!r} of Origin {origin!r} is unknown", hint=f"one of {known}, or the VO alone")
    if not colon:
        vo, dot, role = role.rpartition(".")
        if not dot or role not in ROLES:
            vo, role = origin.strip(), ""
    if role and not vo:
        raise Forbidden(f"Origin {origin!r} names no VO", hint="Origin: <vo> or <vo>:<role>")
    return vo or None, ROLES[role]
