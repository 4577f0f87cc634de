"""One table decides, and what it does not name nobody may do; headers never make an identity."""

import re
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from fastapi import APIRouter, FastAPI, Request
from fastapi.routing import APIRoute

from panda.errors import Forbidden
from panda.settings import load
from panda_api.security import (
    LOCAL_OPERATOR,
    PERMISSIONS,
    Identity,
    Permit,
    Policy,
    Role,
    check_every_route,
    every_route,
    identify,
    may,
    permit,
    policy_of,
)
from tests.api.openapi import an_app
from tests.support.serving import Caller
from tests.support.tokens import a_token, headers_of


def a_request(client: str | None = "127.0.0.1", public_url: str | None = None, **headers: str) -> Request:
    given = {"host": "127.0.0.1:25080"} | {name.replace("_", "-"): value for name, value in headers.items()}
    context = SimpleNamespace(settings=load(public_url=public_url), clock=lambda: datetime(2026, 11, 22, tzinfo=UTC))
    return Request(
        {
            "type": "http",
            "method": "POST",
            "path": "/",
            "query_string": b"",
            "scheme": "http",
            "server": ("127.0.0.1", 25080),
            "client": (client, 1234) if client else None,
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
            "app": SimpleNamespace(state=SimpleNamespace(context=context)),
        }
    )


@pytest.mark.parametrize("client", ["127.0.0.1", "127.8.9.1", "::1"])
def test_this_machine_is_a_local_operator(client: str) -> None:
    assert identify(a_request(client)) == LOCAL_OPERATOR


@pytest.mark.parametrize("client", ["10.0.0.1", "192.168.1.2", "2001:db8::1", "testclient", "", None])
def test_any_other_machine_is_nobody(client: str | None) -> None:
    with pytest.raises(Forbidden, match="no identity is configured"):
        identify(a_request(client))


@pytest.mark.parametrize("header", ["ssl_client_s_dn", "x_client_dn", "x_forwarded_for", "x_real_ip", "forwarded"])
def test_headers_make_nobody_somebody(header: str) -> None:
    with pytest.raises(Forbidden):
        identify(a_request("10.0.0.1", **{header: "127.0.0.1"}))
    assert identify(a_request(**{header: "/CN=root"})) == LOCAL_OPERATOR


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "https://127.0.0.1:25080.evil.example"},
        {"origin": "http://127.0.0.1:8080"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"host": "rebound.example"},
    ],
)
def test_a_web_page_of_another_site_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(Forbidden, match="web page"):
        identify(a_request(**headers))


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "atlas"},
        {"origin": "vo:production"},
        {"origin": "http://127.0.0.1:25080"},
        {"sec_fetch_site": "same-origin"},
        {"host": "localhost:25080"},
        {"host": "[::1]:25080"},
    ],
)
def test_pilots_and_our_own_pages_pass(headers: dict[str, str]) -> None:
    assert identify(a_request(**headers)) == LOCAL_OPERATOR


def test_a_token_makes_its_user_of_this_machine_only() -> None:
    shown = {"authorization": f"Bearer {a_token(name='Ann Tester')}", "origin": "testvo"}
    assert identify(a_request(**shown)).name == "Ann Tester"
    assert identify(a_request(**shown)).vo == "testvo"
    with pytest.raises(Forbidden, match="only this machine"):
        identify(a_request("10.0.0.1", **shown))


@pytest.mark.parametrize("shown", ["", "Bearer", "Bearer x", "Bearer a.b.c", "Basic cm9vdDpyb290", "/CN=root"])
def test_a_token_that_cannot_be_read_makes_nobody(shown: str) -> None:
    with pytest.raises(Forbidden):
        identify(a_request(authorization=shown))


def test_the_public_address_is_a_name_of_ours() -> None:
    assert identify(a_request(public_url="https://panda.example", host="panda.example")) == LOCAL_OPERATOR


def test_every_policy_has_a_row_and_what_is_not_named_is_denied() -> None:
    assert set(PERMISSIONS) == set(Policy)
    nobody = Identity("nobody", frozenset(), "nothing")
    assert not any(may(nobody, policy) for policy in Policy)


@pytest.mark.parametrize(
    ("role", "policy", "allowed"),
    [
        (Role.PILOT, Policy.TAKE_JOBS, True),
        (Role.PILOT, Policy.SUBMIT_TASKS, False),
        (Role.PILOT, Policy.SET_SITES, False),
        (Role.FACTORY, Policy.READ_DEMAND, True),
        (Role.FACTORY, Policy.STEER_TASKS, False),
        (Role.USER, Policy.SUBMIT_TASKS, True),
        (Role.USER, Policy.TAKE_JOBS, False),
        (Role.USER, Policy.SET_PRIORITY, False),
        (Role.SITE_ADMIN, Policy.SET_SITES, True),
        (Role.SITE_ADMIN, Policy.SUBMIT_TASKS, False),
        (Role.OPERATOR, Policy.SET_PRIORITY, True),
        (Role.OPERATOR, Policy.NOTIFY, False),
        (Role.SERVICE, Policy.NOTIFY, True),
        (Role.SERVICE, Policy.SUBMIT_TASKS, False),
    ],
)
def test_the_table(role: Role, policy: Policy, *, allowed: bool) -> None:
    somebody = Identity("somebody", frozenset({role}), "a test")
    assert may(somebody, policy) is allowed
    if not allowed:
        with pytest.raises(Forbidden, match=f"somebody may not {policy}"):
            Permit(policy).decide(somebody)


def test_an_app_with_a_route_without_policy_does_not_start() -> None:
    app = FastAPI(openapi_url=None)
    router = APIRouter()

    @router.get("/good", dependencies=[permit(Policy.PUBLIC)])
    def good() -> None: ...

    app.include_router(router)
    check_every_route(app)

    @app.get("/bare")
    def bare() -> None: ...

    with pytest.raises(RuntimeError, match="/bare"):
        check_every_route(app)


def test_a_route_with_two_policies_has_none() -> None:
    app = FastAPI(openapi_url=None)

    @app.get("/two", dependencies=[permit(Policy.PUBLIC), permit(Policy.TAKE_JOBS)])
    def two() -> None: ...

    assert [policy_of(route) for route in app.routes if getattr(route, "path", "") == "/two"] == [None]


STRANGERS = {
    Role.USER: headers_of("Ann", "atlas"),
    Role.PILOT: headers_of("Pia", "atlas:pilot"),
    Role.FACTORY: headers_of("Fay", "atlas:harvester"),
}


OPEN_TO_ALL_OF_THEM = {Policy.PUBLIC, Policy.WHO_AM_I, Policy.READ_TOPOLOGY, Policy.FETCH_FILES, Policy.READ_JOBS}


def test_every_route_refuses_whom_its_policy_does_not_name(caller: Caller) -> None:
    """Asked of the real server, as the hot calls pass by the framework; whose token nobody can read gets nowhere."""
    broken = {"Authorization": "Bearer no.token", "Origin": "atlas"}
    asked = 0
    for route in (one for one in every_route(an_app().routes) if isinstance(one, APIRoute)):
        policy = policy_of(route)
        assert policy is not None
        no = [headers for role, headers in STRANGERS.items() if role not in PERMISSIONS[policy]]
        assert no or policy in OPEN_TO_ALL_OF_THEM
        path = re.sub(r"\{[^}]*\}", "1", route.path)
        for method in route.methods or ():
            for headers in no[:2] or [broken]:
                answer = caller.session.request(method, caller.address + path, json={}, headers=headers, timeout=30)
                assert answer.status_code == 403, (method, path, answer.text)
                asked += 1
    assert asked > 150
