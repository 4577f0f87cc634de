"""ProdDB's tables, with metadata of their own in schema `proddb`: another database or another server may hold them.

Column names are the lower case of the ATLAS production database's where it had them (domain.md 1b). No foreign key and
no join ever leads from here to PanDA's tables; `panda_task_id` and `pandaid` are numbers for people.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Double,
    Enum,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from panda.domain.prodstates import ProdJobState, ProdTaskState

SCHEMA = "proddb"
metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    },
)
When = DateTime(timezone=True)
NOW = func.now()


def _enum(cls: type[ProdTaskState | ProdJobState], name: str) -> Enum:
    return Enum(cls, name=name, values_callable=lambda members: [str(one.value) for one in members], metadata=metadata)


task_state = _enum(ProdTaskState, "task_state")
job_state = _enum(ProdJobState, "job_state")

etask = Table(
    "etask",
    metadata,
    Column("taskid", BigInteger, Identity(), primary_key=True),
    Column("name", Text, nullable=False, index=True),
    Column("kind", Text, nullable=False),  # request: PanDA makes the jobs; jobs: the ejobdef rows are the jobs
    Column("status", task_state, nullable=False, server_default=ProdTaskState.PENDING.value),
    Column("grid", Text, nullable=False, server_default="panda"),  # which executor; Bamboo takes only 'panda'
    Column("tier", Text),  # the cloud, written back
    Column("transuses", Text, nullable=False, server_default=""),  # release
    Column("priority", Integer, nullable=False),
    Column("vo", Text, nullable=False),
    Column("parent", BigInteger, ForeignKey("etask.taskid"), index=True),
    Column("actualpars", JSONB, nullable=False),  # the rest of the request, in the fields of panda.domain.work
    Column("message", Text),
    Column("n_jobs", Integer, nullable=False, server_default="0"),
    Column("n_waiting", Integer, nullable=False, server_default="0"),
    Column("n_running", Integer, nullable=False, server_default="0"),
    Column("n_done", Integer, nullable=False, server_default="0"),
    Column("n_failed", Integer, nullable=False, server_default="0"),
    Column("n_aborted", Integer, nullable=False, server_default="0"),
    Column("panda_task_id", BigInteger, unique=True),
    Column("created_at", When, nullable=False, server_default=NOW),
    Column("submitted_at", When),
    Column("status_changed_at", When, nullable=False, server_default=NOW),
    Column("ended_at", When),
    Index(
        "ix_etask_open",
        "taskid",
        postgresql_where=text("status IN ('pending', 'submitting', 'submitted', 'running', 'TOBEABORTED')"),
    ),
)

ejobdef = Table(
    "ejobdef",
    metadata,
    Column("jobdefid", BigInteger, Identity(), primary_key=True),
    Column("taskid", BigInteger, ForeignKey("etask.taskid", ondelete="CASCADE"), nullable=False),
    # From 0: PanDA's ordinal in its task. A ready definition has none until its task is taken, or for ever if it is
    # aborted before that.
    Column("ordinal", Integer),
    Column("state", job_state, nullable=False, server_default=ProdJobState.TOBEDONE.value),
    Column("maxattempt", SmallInteger, nullable=False),
    Column("attempt", SmallInteger, nullable=False, server_default="0"),  # the newest; 0: none known yet
    Column("jobpars", Text),  # null: PanDA fills in the task's template
    Column("inputs", JSONB, nullable=False, server_default="[]"),
    Column("outputs", JSONB, nullable=False, server_default="[]"),
    Column("priority_offset", SmallInteger, nullable=False, server_default="0"),
    Column("message", Text),
    Column("state_changed_at", When, nullable=False, server_default=NOW),
    UniqueConstraint("taskid", "ordinal"),
    Index("ix_ejobdef_state", "taskid", "state"),
    Index("ix_ejobdef_marked", "taskid", postgresql_where=text("state = 'TOBEABORTED'")),
)

ejobexe = Table(
    "ejobexe",
    metadata,
    Column("jobdefid", BigInteger, ForeignKey("ejobdef.jobdefid", ondelete="CASCADE"), primary_key=True),
    Column("attempt", SmallInteger, primary_key=True),
    Column("pandaid", BigInteger, nullable=False, index=True),
    Column("state", job_state, nullable=False),
    Column("panda_status", Text, nullable=False),
    Column("site", Text),
    Column("node", Text),
    Column("error", Text),
    Column("started_at", When),
    Column("ended_at", When),
    Column("wall_s", Double),
    Column("cpu_s", Double),
    Column("n_events", BigInteger),
    Column("state_changed_at", When, nullable=False),
)

# How far PanDA's events have been written, kept in the transaction that wrote them. `source` names PanDA's database.
mirror_cursor = Table(
    "mirror_cursor",
    metadata,
    Column("source", Text, primary_key=True),
    Column("xid", BigInteger, nullable=False),
    Column("event_id", BigInteger, nullable=False),
    Column("at", When, nullable=False, server_default=NOW),
)
