"""A token and its Origin become the identity that their claims name, or a refusal that says what is wrong."""

from datetime import UTC, datetime

import pytest

from panda.auth.identity import Identity, Reach, Role, reach_of
from panda.auth.tokens import identity_of
from panda.errors import Forbidden
from tests.support.tokens import a_token

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def known(origin: str = "testvo", **claims: object) -> Identity:
    return identity_of(f"Bearer {a_token(**{'name': 'Ann Tester', **claims})}", origin, NOW)


def test_user_nickname_and_groups_come_from_the_claims() -> None:
    who = known(preferred_username="ann", groups=["/testvo", "higgs"])
    assert (who.name, who.nickname, who.groups, who.vo) == ("Ann Tester", "ann", ("/testvo", "higgs"), "testvo")
    assert who.roles == {Role.USER}
    assert "not verified" in who.known_by


@pytest.mark.parametrize(
    ("origin", "vo", "role"),
    [
        ("testvo", "testvo", None),
        ("testvo:production", "testvo", Role.PRODUCTION_MANAGER),
        ("testvo.production", "testvo", Role.PRODUCTION_MANAGER),
        ("vo.example.org", "vo.example.org", None),
        ("vo.example.org.pilot", "vo.example.org", Role.PILOT),
        ("testvo:pilot", "testvo", Role.PILOT),
        ("testvo:harvester", "testvo", Role.FACTORY),
        ("", None, None),
    ],
)
def test_the_origin_names_vo_and_role(origin: str, vo: str | None, role: Role | None) -> None:
    who = known(origin)
    assert who.vo == vo
    assert role in who.roles if role else who.roles == {Role.USER}
    assert Role.OPERATOR not in who.roles


@pytest.mark.parametrize("origin", ["testvo:boss", "testvo:operator", ":production", ".pilot", "x" * 300, "a\tb"])
def test_an_origin_that_names_no_known_role_is_refused(origin: str) -> None:
    with pytest.raises(Forbidden):
        known(origin)


@pytest.mark.parametrize(
    ("claims", "says"),
    [
        ({"name": None}, "names nobody"),
        ({"name": 7}, "'name' is no name"),
        ({"name": "a\x00b"}, "'name' is no name"),
        ({"name": "x" * 256}, "'name' is no name"),
        ({"exp": NOW.timestamp() - 100}, "expired"),
        ({"exp": "tomorrow"}, "'exp' is no time"),
        ({"nbf": NOW.timestamp() + 100}, "not valid yet"),
        ({"groups": "higgs"}, "no list"),
        ({"groups": [1]}, "no list"),
    ],
)
def test_claims_that_cannot_be_right_are_refused(claims: dict[str, object], says: str) -> None:
    with pytest.raises(Forbidden, match=says):
        known("testvo", **claims)


def test_a_token_within_its_time_is_taken() -> None:
    assert known(exp=NOW.timestamp() + 1, nbf=NOW.timestamp() - 1).name == "Ann Tester"


@pytest.mark.parametrize(
    "token", ["", "a.b", "a.b.c.d", "....", "a.!!.c", "e30.W10.x", "e30.bnVsbA.x", "e30..x", "\xe9.\xe9.x"]
)
def test_a_token_of_another_form_is_refused(token: str) -> None:
    with pytest.raises(Forbidden):
        identity_of(f"Bearer {token}", "testvo", NOW)


@pytest.mark.parametrize(
    ("roles", "reach"),
    [
        ({Role.USER}, Reach(owner="ann")),
        ({Role.USER, Role.PRODUCTION_MANAGER, Role.PILOT}, Reach(vo="testvo")),
        ({Role.PILOT}, Reach()),
        ({Role.OPERATOR, Role.USER}, Reach()),
    ],
)
def test_whose_work_is_in_reach(roles: set[Role], reach: Reach) -> None:
    assert reach_of(Identity("ann", frozenset(roles), "a test", vo="testvo")) == reach
