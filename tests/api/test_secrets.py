"""Users' secrets: sealed in the database, read by their owner, and by the owner's jobs that asked for them."""

import json
from typing import Any

from cryptography.fernet import Fernet
from sqlalchemy import text

from panda.auth.seal import KEY_FILE
from panda.services.context import Context
from tests.api.test_routes import V1, bad, good, submitted, taken
from tests.support.serving import Caller
from tests.support.tokens import headers_of

PUT, GET = f"{V1}/creds/set_user_secrets", f"{V1}/creds/get_user_secrets"


def change(ctx: Context, statement: str, **values: Any) -> None:
    with ctx.engine.begin() as connection:
        connection.execute(text(statement), values)


def test_secrets_are_the_owners_alone(caller: Caller) -> None:
    ann, bob = (Caller(caller.address, headers_of(name)) for name in ("Ann", "Bob"))
    put, get = f"{V1}/creds/set_user_secrets", f"{V1}/creds/get_user_secrets"
    good(ann.post(put, {"key": "a", "value": "one"}))
    good(ann.post(put, {"key": "a", "value": "two"}))
    good(ann.post(put, {"key": "b", "value": "three"}))
    assert json.loads(good(ann.get(get))) == {"a": "two", "b": "three"}
    assert json.loads(good(bob.get(get))) == {}
    good(ann.post(put, {"key": "a", "value": None}))
    assert json.loads(good(ann.get(get))) == {"b": "three"}
    good(ann.post(put, {"key": None, "value": None}))
    assert json.loads(good(ann.get(get))) == {}
    bad(ann.post(put, {"value": "x"}), "without a key")


def test_nothing_of_a_secret_can_be_read_in_the_database(caller: Caller, ctx: Context) -> None:
    good(caller.post(PUT, {"key": "password", "value": "very secret"}))
    with ctx.engine.connect() as connection:
        (row,) = connection.execute(text("SELECT * FROM user_secret")).mappings()
    assert row["sealed"]
    assert "very" not in row["value"]
    key = ctx.settings.data_dir / KEY_FILE
    assert key.stat().st_mode & 0o777 == 0o600
    assert b"very secret" in Fernet(key.read_bytes()).decrypt(row["value"].encode())
    assert [one.name for one in ctx.settings.data_dir.glob(f".{KEY_FILE}*")] == []


def test_a_sealed_secret_opens_at_its_place_and_with_its_key_only(caller: Caller, ctx: Context) -> None:
    ann, bob = (Caller(caller.address, headers_of(name)) for name in ("Ann", "Bob"))
    good(ann.post(PUT, {"key": "a", "value": "one"}))
    change(ctx, "INSERT INTO user_secret (owner, key, value, sealed) SELECT 'Bob', key, value, sealed FROM user_secret")
    bad(bob.get(GET), "another place")
    (ctx.settings.data_dir / KEY_FILE).write_bytes(Fernet.generate_key())
    bad(ann.get(GET), "the key is not the one")
    good(ann.post(PUT, {"key": None, "value": None}))
    assert json.loads(good(ann.get(GET))) == {}


def test_what_an_older_version_kept_open_is_sealed_when_it_is_read(caller: Caller, ctx: Context) -> None:
    change(ctx, "INSERT INTO user_secret (owner, key, value) VALUES ('Ann', 'a', 'plain')")
    ann = Caller(caller.address, headers_of("Ann"))
    assert json.loads(good(ann.get(GET))) == {"a": "plain"}
    with ctx.engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM user_secret WHERE sealed AND value <> 'plain'")) == 1


def test_jobs_get_their_owners_secrets_if_they_asked_for_them(caller: Caller, ctx: Context) -> None:
    for name in ("Ann", "Bob"):
        good(Caller(caller.address, headers_of(name)).post(PUT, {"key": "password", "value": f"{name}'s"}))
    got = {}
    for name, asks in (("Ann", True), ("Bob", True), ("Ann", False)):
        submitted(caller, ctx, name=f"mc.{name}.{asks}", owner=name, use_secrets=asks)
        job = taken(caller)
        got[job["jobName"].partition("._")[0]] = json.loads(job.get("secrets", "null"))
    expected = {"mc.Ann.True": {"password": "Ann's"}, "mc.Bob.True": {"password": "Bob's"}, "mc.Ann.False": None}
    assert got == expected
