"""Who calls, and what a caller may do: one table of permissions that denies by default, one policy per route.

A route states its policy with `permit(Policy.X)`; an app with a route that states none does not start.
Only this machine may call. Who shows a bearer token is whom the token names (`panda.auth.tokens`), everybody else the
local operator. No other header makes an identity (security-sites.md section 3, attack 4). Certificates will join.
"""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI, Request
from fastapi.routing import APIRoute
from starlette.datastructures import URL
from starlette.routing import BaseRoute, Mount, Router
from typing_extensions import override

from panda.auth.identity import Identity, Role
from panda.auth.tokens import identity_of
from panda.ddm.notification import SIGNATURE_HEADER, is_signed
from panda.errors import Forbidden
from panda.settings import notify_secret

__all__ = [
    "DDM_SERVICE",
    "LOCAL_OPERATOR",
    "PERMISSIONS",
    "Depended",
    "Identity",
    "Permit",
    "Policy",
    "Role",
    "SignedPermit",
    "check_every_route",
    "every_route",
    "identify",
    "may",
    "permit",
    "permit_signed",
    "policy_of",
]

Depended = Any
"""What `Depends` returns: fastapi's own marker has no public type."""


class Policy(StrEnum):
    """What a route does, as far as permission goes."""

    PUBLIC = "public"
    WHO_AM_I = "who am I"
    TAKE_JOBS = "take jobs"
    REPORT_JOBS = "report on jobs in hand"
    READ_JOBS = "read jobs"
    SUBMIT_JOBS = "submit jobs"
    STEER_JOBS = "steer jobs"
    READ_TASKS = "read tasks"
    SUBMIT_TASKS = "submit tasks"
    STEER_TASKS = "steer tasks"
    SET_PRIORITY = "set priorities"
    READ_DEMAND = "read the demand"
    REPORT_WORKERS = "report on workers"
    TAKE_COMMANDS = "take commands"
    GIVE_COMMANDS = "give commands"
    SET_SITES = "switch sites"
    READ_TOPOLOGY = "read the topology"
    NOTIFY = "notify of transfers"
    LOOK = "look at the monitor"
    KEEP_FILES = "keep files in the cache"
    FETCH_FILES = "fetch files of the cache"
    KEEP_SECRETS = "keep secrets"


_EVERYBODY = frozenset(Role)
_OWNERS = frozenset({Role.USER, Role.PRODUCTION_MANAGER, Role.OPERATOR})

PERMISSIONS: Mapping[Policy, frozenset[Role]] = {
    Policy.PUBLIC: _EVERYBODY,
    Policy.WHO_AM_I: _EVERYBODY,
    Policy.TAKE_JOBS: frozenset({Role.PILOT, Role.FACTORY, Role.OPERATOR}),
    Policy.REPORT_JOBS: frozenset({Role.PILOT, Role.FACTORY, Role.OPERATOR}),
    Policy.READ_JOBS: _OWNERS | {Role.PILOT, Role.FACTORY, Role.SITE_ADMIN},
    Policy.SUBMIT_JOBS: _OWNERS,
    Policy.STEER_JOBS: _OWNERS | {Role.SITE_ADMIN},
    Policy.READ_TASKS: _OWNERS | {Role.SITE_ADMIN},
    Policy.SUBMIT_TASKS: _OWNERS,
    Policy.STEER_TASKS: _OWNERS,
    Policy.SET_PRIORITY: frozenset({Role.PRODUCTION_MANAGER, Role.OPERATOR}),
    Policy.READ_DEMAND: frozenset({Role.FACTORY, Role.SITE_ADMIN, Role.OPERATOR}),
    Policy.REPORT_WORKERS: frozenset({Role.PILOT, Role.FACTORY, Role.OPERATOR}),
    Policy.TAKE_COMMANDS: frozenset({Role.FACTORY, Role.OPERATOR}),
    Policy.GIVE_COMMANDS: frozenset({Role.PRODUCTION_MANAGER, Role.OPERATOR}),
    Policy.SET_SITES: frozenset({Role.SITE_ADMIN, Role.OPERATOR}),
    Policy.READ_TOPOLOGY: _EVERYBODY,
    Policy.NOTIFY: frozenset({Role.SERVICE}),
    Policy.LOOK: frozenset({Role.SITE_ADMIN, Role.OPERATOR}),  # pages show everybody's work
    Policy.KEEP_FILES: _OWNERS,
    Policy.FETCH_FILES: _EVERYBODY,
    Policy.KEEP_SECRETS: _OWNERS,
}


LOCAL_OPERATOR = Identity("local operator", frozenset(Role) - {Role.SERVICE}, "calls from this machine")
DDM_SERVICE = Identity("ddm", frozenset({Role.SERVICE}), "signs with the notification key")


def may(identity: Identity, policy: Policy) -> bool:
    """Whether the table lets somebody do this; what the table does not name, nobody may do."""
    return not identity.roles.isdisjoint(PERMISSIONS.get(policy, frozenset()))


def identify(request: Request, *, page: bool = False) -> Identity:
    """Tell who calls; raises Forbidden for a caller that nothing identifies.

    Web pages in a browser of this machine call from loopback too: what a browser sends for another site is refused. A
    `page` changes nothing and cannot be framed, so a link from elsewhere (the Prefect UI) may lead to it.
    """
    host = request.client.host if request.client else ""
    if not _is_loopback(host):
        raise Forbidden(
            f"no identity is configured, so only this machine may call, not {host or 'an unknown address'}",
            hint="call 127.0.0.1 on the server's own machine",
        )
    if not _is_own_name(request) or (_is_foreign_page(request) and not (page and _follows_a_link(request))):
        raise Forbidden("the call was sent by a web page of another site", hint="call the API directly")
    authorization = request.headers.get("authorization")
    if authorization is None:
        return LOCAL_OPERATOR
    # An Origin that is an address is a browser's and passed above: it names no VO.
    origin = request.headers.get("origin", "")
    now = request.app.state.context.clock()
    return identity_of(authorization, "" if "://" in origin else origin, now)


Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
"""A request's headers as they came, their names in small letters."""

_TELLING = frozenset({b"host", b"authorization", b"origin", b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest"})
_CALLERS_KEPT = 4096


class Callers:
    """Who calls, for those who call again and again with the same words: worked out once, unless a token is shown."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._known: dict[object, Identity] = {}

    def identify(self, headers: Headers, client: tuple[str, int] | None) -> Identity:
        """Tell who calls; raises Forbidden for a caller that nothing identifies."""
        key = (client and client[0], *[one for one in headers if one[0] in _TELLING])
        found = self._known.get(key)
        if found is None:
            scope = {"type": "http", "method": "POST", "scheme": "http", "path": "/", "query_string": b"",
                     "headers": headers, "client": client, "app": self._app}  # fmt: skip
            found = identify(Request(scope))
            if found is LOCAL_OPERATOR:  # a token runs out
                if len(self._known) >= _CALLERS_KEPT:
                    self._known.clear()
                self._known[key] = found
        return found


@lru_cache(maxsize=4096)
def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_own_name(request: Request) -> bool:
    """A name that some DNS server made point to 127.0.0.1 is not ours; the public address is."""
    header = request.headers.get("host")
    host = (_name_in(header) if header else "") or request.url.hostname or ""
    public = urlsplit(request.app.state.context.settings.public_url or "").hostname
    return host in {"localhost", public} or _is_loopback(host)


@lru_cache(maxsize=4096)
def _name_in(header: str) -> str:
    """The host's name as a request's address has it; callers send the same few headers again and again."""
    headers = [(b"host", header.encode("latin-1", "replace"))]
    return URL(scope={"scheme": "http", "path": "/", "query_string": b"", "headers": headers}).hostname or ""


def _is_foreign_page(request: Request) -> bool:
    if request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
        return True
    origin = request.headers.get("origin", "")  # pilots put a VO here: only addresses count
    return "://" in origin and urlsplit(origin).netloc != request.headers.get("host")


def _follows_a_link(request: Request) -> bool:
    """A browser opens the address as a page of its own: who sent it here cannot read the answer."""
    sent = request.headers
    return request.method == "GET" and (sent.get("sec-fetch-mode"), sent.get("sec-fetch-dest")) == (
        "navigate",
        "document",
    )


class Permit:
    """The dependency that lets a request pass or raises Forbidden; its value is the caller's Identity."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    async def __call__(self, request: Request) -> Identity:
        """Identify and decide."""
        return self.decide(identify(request))

    def decide(self, identity: Identity) -> Identity:
        """The identity itself if the table allows it."""
        if not may(identity, self.policy):
            allowed = ", ".join(sorted(PERMISSIONS.get(self.policy, ()))) or "nobody"
            raise Forbidden(f"{identity.name} may not {self.policy}", hint=f"it takes: {allowed}")
        return identity


def permit(policy: Policy) -> Depended:
    """Give what states a route's policy when it stands in the annotation of a parameter, next to `Identity`."""
    return Depends(Permit(policy))


class PagePermit(Permit):
    """Lets a browser come from a link on another site's page."""

    @override
    async def __call__(self, request: Request) -> Identity:
        return self.decide(identify(request, page=True))


def permit_page(policy: Policy) -> Depended:
    """Give what states the policy of a page, which only shows."""
    return Depends(PagePermit(policy))


class SignedPermit(Permit):
    """Lets a request pass whose body is signed with the notification key; nothing else makes the caller a service."""

    @override
    async def __call__(self, request: Request) -> Identity:
        identify(request)  # from this machine, as everybody
        key = notify_secret(request.app.state.context.settings)
        body = await request.body()
        if not is_signed(key, body, request.headers.get(SIGNATURE_HEADER, "")):
            raise Forbidden(
                "the notification is not signed with our key",
                hint=f"header {SIGNATURE_HEADER}: sha256=<HMAC-SHA256 of the body in hex>, key of PANDA_NOTIFY_KEY",
            )
        return self.decide(DDM_SERVICE)


def permit_signed(policy: Policy) -> Depended:
    """Give what states the policy of a route for services that sign their calls."""
    return Depends(SignedPermit(policy))


def policy_of(route: BaseRoute) -> Policy | None:
    """The policy that a route states, None if it states none."""
    if not isinstance(route, APIRoute):
        return None
    found = {one.call.policy for one in route.dependant.dependencies if isinstance(one.call, Permit)}
    return found.pop() if len(found) == 1 else None


def every_route(routes: Iterable[BaseRoute]) -> Iterable[BaseRoute]:
    """All routes, those of included routers and mounted apps among them."""
    for route in routes:
        # An included router stands in the list as one entry that keeps the router it was made of.
        inner = getattr(route, "original_router", route)
        if isinstance(inner, Mount | Router):
            yield from every_route(inner.routes)
        else:
            yield route


def check_every_route(app: FastAPI) -> None:
    """Raise RuntimeError for a route without exactly one policy: such an app must not start."""
    bare = [getattr(one, "path", repr(one)) for one in every_route(app.routes) if policy_of(one) is None]
    if bare:
        raise RuntimeError(f"these routes state no policy: {', '.join(sorted(bare))}")
