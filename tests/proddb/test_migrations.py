"""ProdDB's tables: the migrations make exactly what the program was written for, and say so when they have not run."""

import pytest
from sqlalchemy import Engine, inspect, text

from panda.embedded import Address
from panda.errors import SchemaMismatch
from panda.proddb import engine as proddb_engine
from tests.support.proddb import empty_proddb


def test_migrations_make_the_tables_of_the_program(proddb: Engine) -> None:
    proddb_engine.check(proddb)
    proddb_engine.differences(proddb)


def test_upgrading_twice_is_upgrading_once(proddb: Engine) -> None:
    with proddb.begin() as connection:
        connection.execute(text("INSERT INTO proddb.mirror_cursor (source, xid, event_id) VALUES ('somewhere', 5, 6)"))
    proddb_engine.upgrade(proddb)
    with proddb.connect() as connection:
        assert connection.scalar(text("SELECT xid FROM proddb.mirror_cursor")) == 5


def test_a_database_without_the_tables_is_refused_with_what_to_do(cluster: Address) -> None:
    with empty_proddb(cluster) as engine:
        with pytest.raises(SchemaMismatch) as refusal:
            proddb_engine.check(engine)
        assert "revision none" in refusal.value.message
        assert "panda db upgrade" in refusal.value.hint


def test_downgrade_leaves_nothing_but_the_version_table(proddb: Engine) -> None:
    proddb_engine.downgrade(proddb, "base")
    assert inspect(proddb).get_table_names(schema="proddb") == ["version"]
    with proddb.connect() as connection:
        types = "SELECT count(*) FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE nspname = 'proddb'"
        assert connection.scalar(text(types + " AND typtype = 'e'")) == 0
    proddb_engine.upgrade(proddb)
    proddb_engine.check(proddb)


def test_no_table_of_pandas_is_touched_by_them(proddb: Engine) -> None:
    before = set(inspect(proddb).get_table_names())
    proddb_engine.downgrade(proddb, "base")
    assert set(inspect(proddb).get_table_names()) == before
    assert "production_task" in before
