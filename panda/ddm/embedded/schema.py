"""Owns the tables of the embedded DDM (PostgreSQL schema `ddm`); the catalogue and the agent's queue, no statements.

Lock order of every transaction: dataset, file, request, replica, hold, transfer, and last the lock of the feed.
What still deadlocks is repeated by `transactions.run`.
"""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

SCHEMA = "ddm"

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    },
)


def _id() -> Column[int]:
    return Column("id", BigInteger, Identity(always=True), primary_key=True)


def _when(name: str, *, null: bool = False) -> Column[datetime]:
    default = None if null else func.now()
    return Column(name, DateTime(timezone=True), nullable=null, server_default=default)


def _text(name: str, default: str | None = None) -> Column[str]:
    return Column(name, Text, nullable=False, server_default=default)


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default=text("0"))


# Topology ------------------------------------------------------------------------------------------------------------

rse = Table(
    "rse",
    metadata,
    Column("name", Text, primary_key=True),
    _text("site"),
    _text("cloud"),
    Column("tier", SmallInteger, nullable=False),
    _text("root"),
    Column("available_read", Boolean, nullable=False),
    Column("available_write", Boolean, nullable=False),
    Column("declared_space_bytes", BigInteger),
    Column("max_incoming", Integer),
    Column("max_outgoing", Integer),
    Column("reap_above", Double),
    Column("attributes", JSONB, nullable=False),
    comment="A storage element: a folder at a site.",
)

link = Table(
    "link",
    metadata,
    _text("source"),
    _text("destination"),
    Column("max_running", Integer),
    Column("bytes_per_second", BigInteger),
    Column("distance", Integer, nullable=False, server_default=text("1")),
    PrimaryKeyConstraint("source", "destination"),
    comment="What is special about copying from one RSE to another; most pairs have no row.",
)

space = Table(
    "space",
    metadata,
    _id(),
    _text("rse"),
    _count("files"),
    _count("bytes"),
    Index(None, "rse"),
    comment="Changes of what lies on an RSE, appended; the sum is the usage. Upkeep folds them into one row per RSE.",
)

quota = Table(
    "quota",
    metadata,
    _text("account"),
    _text("rse"),
    Column("bytes", BigInteger, nullable=False),
    PrimaryKeyConstraint("account", "rse"),
)

# Catalogue -----------------------------------------------------------------------------------------------------------

dataset = Table(
    "dataset",
    metadata,
    _id(),
    _text("scope"),
    _text("name"),
    Column("container", Boolean, nullable=False),
    Column("open", Boolean, nullable=False, server_default=text("true")),
    _count("files"),
    _count("bytes"),
    _when("created_at"),
    _when("closed_at", null=True),
    _when("expires_at", null=True),
    _when("erased_at", null=True),
    Column("meta", JSONB, nullable=False),
    UniqueConstraint("scope", "name"),
    Index("ix_dataset_expiry", "expires_at", postgresql_where=text("erased_at IS NULL AND expires_at IS NOT NULL")),
    Index("ix_dataset_pattern", "scope", "name", postgresql_ops={"name": "text_pattern_ops"}),
    comment="Datasets and containers. `files` is also the next position.",
)

file = Table(
    "file",
    metadata,
    _id(),
    _text("scope"),
    _text("name"),
    Column("bytes", BigInteger, nullable=False),
    _text("adler32"),
    Column("guid", Uuid, nullable=False, unique=True),
    Column("events", BigInteger),
    _when("created_at"),
    UniqueConstraint("scope", "name"),
)

content = Table(
    "content",
    metadata,
    Column("dataset_id", ForeignKey(dataset.c.id), nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("file_id", BigInteger, nullable=False),
    PrimaryKeyConstraint("dataset_id", "position"),
    UniqueConstraint("file_id", "dataset_id"),
    comment="The files of a dataset in the order of attaching.",
)

container_content = Table(
    "container_content",
    metadata,
    Column("container_id", ForeignKey(dataset.c.id), nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("dataset_id", ForeignKey(dataset.c.id), nullable=False),
    PrimaryKeyConstraint("container_id", "position"),
    UniqueConstraint("dataset_id", "container_id"),
)

replica = Table(
    "replica",
    metadata,
    Column("file_id", BigInteger, nullable=False),
    _text("rse"),
    _text("state"),
    Column("transferred", Boolean, nullable=False),
    _text("written_by"),
    _when("at"),
    Column("bad_reads", SmallInteger, nullable=False, server_default=text("0")),
    _when("doomed_at", null=True),
    PrimaryKeyConstraint("file_id", "rse"),
    Index(None, "rse", "file_id"),
    Index("ix_replica_doomed", "rse", "doomed_at", postgresql_where=text("doomed_at IS NOT NULL")),
    comment="A copy of a file: each site's local replica catalogue. Doomed: nobody needs it, the reaper may take it.",
)

# Transfers -----------------------------------------------------------------------------------------------------------

LIVE = text("state IN ('QUEUED', 'MOVING', 'OK', 'STUCK')")

transfer = Table(
    "transfer",
    metadata,
    _id(),
    Column("dataset_id", ForeignKey(dataset.c.id), nullable=False),
    _text("rse"),
    Column("source_rse", Text),
    _text("state"),
    Column("priority", SmallInteger, nullable=False),
    _text("activity"),
    _text("account"),
    _text("comment"),
    _count("total"),
    _count("ok"),
    _count("stuck"),
    _count("bytes"),
    _count("total_bytes"),
    _text("error", ""),
    _when("created_at"),
    _when("updated_at"),
    _when("expires_at", null=True),
    Index("uq_transfer_live", "dataset_id", "rse", unique=True, postgresql_where=LIVE),
    Index(None, "dataset_id"),
    Index("ix_transfer_account", "account", "rse", postgresql_where=LIVE),
    Index("ix_transfer_expiry", "expires_at", postgresql_where=LIVE),
    comment="A dataset is wanted at an RSE; `moving` is total - ok - stuck.",
)

hold = Table(
    "hold",
    metadata,
    Column("transfer_id", ForeignKey(transfer.c.id), nullable=False),
    Column("file_id", BigInteger, nullable=False),
    _text("rse"),
    _text("state"),
    PrimaryKeyConstraint("transfer_id", "file_id"),
    Index(None, "file_id", "rse"),
    comment="A transfer wants this file at its RSE: MOVING, OK or STUCK. While there is one, the copy stays.",
)

request = Table(
    "request",
    metadata,
    _id(),
    Column("file_id", BigInteger, nullable=False),
    _text("rse"),
    Column("source_only", Text),
    _text("state"),
    Column("priority", SmallInteger, nullable=False),
    Column("tries", Integer, nullable=False, server_default=text("0")),
    _when("not_before"),
    Column("lease", Integer, nullable=False, server_default=text("0")),
    _when("lease_until", null=True),
    Column("agent_id", BigInteger),
    Column("source_rse", Text),
    Column("slot", BigInteger),
    Column("failed_sources", JSONB, nullable=False, server_default=text("'{}'")),
    _text("error", ""),
    _when("created_at"),
    _when("updated_at"),
    UniqueConstraint("file_id", "rse"),
    Index("ix_request_queued", "rse", "priority", "id", postgresql_where=text("state = 'QUEUED'")),
    Index("ix_request_running", "lease_until", postgresql_where=text("state = 'RUNNING'")),
    Index("ix_request_stuck", "updated_at", postgresql_where=text("state = 'STUCK'")),
    comment="A file that has to be copied to an RSE: QUEUED, RUNNING or STUCK; gone when the copy is in the catalogue.",
)

attempt = Table(
    "attempt",
    metadata,
    _id(),
    Column("transfer_id", BigInteger),
    Column("file_id", BigInteger, nullable=False),
    _text("source_rse", ""),
    _text("rse"),
    Column("number", Integer, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("seconds", Double, nullable=False),
    _text("error", ""),
    Column("queued_at", DateTime(timezone=True), nullable=False),
    _when("ended_at"),
    Index(None, "ended_at"),
    Index(None, "file_id"),
    Index(None, "transfer_id"),
    comment="How each try to copy a file ended, for those who watch transfers; an empty error means well.",
)

# Events, calls, agents -----------------------------------------------------------------------------------------------

event = Table(
    "event",
    metadata,
    Column("seq", BigInteger, Identity(always=True), primary_key=True),
    _when("at"),
    _text("kind"),
    Column("transfer_id", BigInteger),
    _text("scope"),
    _text("name"),
    _text("rse"),
    _text("detail"),
    Index(None, "at"),
    comment="The outbox and feed; seq is drawn under a lock that is held to the commit, so it grows in commit order.",
)

subscription = Table(
    "subscription",
    metadata,
    Column("name", Text, primary_key=True),
    _text("url"),
    _count("delivered"),
    Column("tries", Integer, nullable=False, server_default=text("0")),
    _when("not_before"),
    _text("error", ""),
    comment="Who is told of events by HTTP, and up to which seq it has acknowledged.",
)

call = Table(
    "call",
    metadata,
    _text("method"),
    _text("key"),
    _text("digest"),
    _when("at"),
    PrimaryKeyConstraint("method", "key"),
    Index(None, "at"),
    comment="Keys of changing calls with a digest of their content.",
)

agent = Table(
    "agent",
    metadata,
    _id(),
    _text("host"),
    Column("pid", Integer, nullable=False),
    _when("started_at"),
    _when("seen_at"),
    comment="Transfer agents. A living one holds the advisory lock of its id: who can take it knows that it is dead.",
)

fault = Table(
    "fault",
    metadata,
    _id(),
    _text("kind"),
    Column("source_rse", Text),
    Column("destination_rse", Text),
    _text("name_pattern", ".*"),
    Column("remaining", Integer),
    Column("amount", Double, nullable=False, server_default=text("0")),
    comment="Injected faults; only an agent started with --faults reads them.",
)
