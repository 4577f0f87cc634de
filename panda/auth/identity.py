"""Who somebody is to the system: name, roles, virtual organisation, and whose work they see and steer.

It knows no HTTP and no database: `auth.tokens` makes an Identity of a token, `services.ownership` asks for owners.
"""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What somebody is to the system (security-sites.md section 3)."""

    USER = "user"
    PILOT = "pilot"
    FACTORY = "factory"
    SITE_ADMIN = "site admin"
    PRODUCTION_MANAGER = "production manager"
    OPERATOR = "operator"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody, what they are, and how we know. `nickname` is the user's part of dataset names (user.<nickname>.*)."""

    name: str
    roles: frozenset[Role]
    known_by: str
    vo: str | None = None
    nickname: str = ""
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reach:
    """Whose work somebody may see and steer: of one owner, of one VO; both None is everybody's."""

    owner: str | None = None
    vo: str | None = None

    def covers(self, owner: str, vo: str) -> bool:
        """Whether work of this owner and VO is in reach."""
        return self.owner in {None, owner} and self.vo in {None, vo}


_EVERYWHERE = frozenset({Role.OPERATOR, Role.SITE_ADMIN})
_AT_WORK = frozenset({Role.PILOT, Role.FACTORY})


def reach_of(who: Identity) -> Reach:
    """Tell whose work somebody reaches: operators everybody's, managers their VO's, users their own.

    A pilot or factory that is nothing else reaches every job; what it may do with them is the table's question.
    """
    if not who.roles.isdisjoint(_EVERYWHERE):
        return Reach()
    if Role.PRODUCTION_MANAGER in who.roles:
        return Reach(vo=who.vo or "")
    if not who.roles.isdisjoint(_AT_WORK):
        return Reach()
    return Reach(owner=who.name)
