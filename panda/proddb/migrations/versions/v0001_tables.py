"""The first tables of ProdDB: task requests, job definitions, executions, and how far PanDA was mirrored."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TASK_STATE = postgresql.ENUM(
    "pending",
    "submitting",
    "submitted",
    "running",
    "finished",
    "failed",
    "aborted",
    "obsolete",
    "TOBEABORTED",
    create_type=False,
    name="task_state",
    schema="proddb",
)
JOB_STATE = postgresql.ENUM(
    "TOBEDONE",
    "WAITINGDATA",
    "TODO",
    "RUNNING",
    "DONE",
    "FAILED",
    "ABORTED",
    "TOBEABORTED",
    create_type=False,
    name="job_state",
    schema="proddb",
)


def upgrade() -> None:
    """Make the tables in an empty schema."""
    TASK_STATE.create(op.get_bind())
    JOB_STATE.create(op.get_bind())
    _make_etask()
    _make_mirror_cursor()
    _make_ejobdef()
    _make_ejobexe()


def _make_etask() -> None:
    op.create_table(
        "etask",
        sa.Column("taskid", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", TASK_STATE, server_default="pending", nullable=False),
        sa.Column("grid", sa.Text(), server_default="panda", nullable=False),
        sa.Column("tier", sa.Text(), nullable=True),
        sa.Column("transuses", sa.Text(), server_default="", nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("vo", sa.Text(), nullable=False),
        sa.Column("parent", sa.BigInteger(), nullable=True),
        sa.Column("actualpars", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("n_jobs", sa.Integer(), server_default="0", nullable=False),
        sa.Column("n_waiting", sa.Integer(), server_default="0", nullable=False),
        sa.Column("n_running", sa.Integer(), server_default="0", nullable=False),
        sa.Column("n_done", sa.Integer(), server_default="0", nullable=False),
        sa.Column("n_failed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("n_aborted", sa.Integer(), server_default="0", nullable=False),
        sa.Column("panda_task_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("submitted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("status_changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["parent"], ["proddb.etask.taskid"], name="fk_etask_parent_etask"),
        sa.PrimaryKeyConstraint("taskid", name="pk_etask"),
        sa.UniqueConstraint("panda_task_id", name="uq_etask_panda_task_id"),
        schema="proddb",
    )
    op.create_index("ix_etask_name", "etask", ["name"], unique=False, schema="proddb")
    op.create_index(
        "ix_etask_open",
        "etask",
        ["taskid"],
        unique=False,
        schema="proddb",
        postgresql_where=sa.text("status IN ('pending', 'submitting', 'submitted', 'running', 'TOBEABORTED')"),
    )
    op.create_index("ix_etask_parent", "etask", ["parent"], unique=False, schema="proddb")


def _make_mirror_cursor() -> None:
    op.create_table(
        "mirror_cursor",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("xid", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("source", name="pk_mirror_cursor"),
        schema="proddb",
    )


def _make_ejobdef() -> None:
    op.create_table(
        "ejobdef",
        sa.Column("jobdefid", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("taskid", sa.BigInteger(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=True),
        sa.Column("state", JOB_STATE, server_default="TOBEDONE", nullable=False),
        sa.Column("maxattempt", sa.SmallInteger(), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("jobpars", sa.Text(), nullable=True),
        sa.Column("inputs", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.Column("outputs", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.Column("priority_offset", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("state_changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["taskid"], ["proddb.etask.taskid"], name="fk_ejobdef_taskid_etask", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("jobdefid", name="pk_ejobdef"),
        sa.UniqueConstraint("taskid", "ordinal", name="uq_ejobdef_taskid_ordinal"),
        schema="proddb",
    )
    op.create_index(
        "ix_ejobdef_marked",
        "ejobdef",
        ["taskid"],
        unique=False,
        schema="proddb",
        postgresql_where=sa.text("state = 'TOBEABORTED'"),
    )
    op.create_index("ix_ejobdef_state", "ejobdef", ["taskid", "state"], unique=False, schema="proddb")


def _make_ejobexe() -> None:
    op.create_table(
        "ejobexe",
        sa.Column("jobdefid", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), nullable=False),
        sa.Column("pandaid", sa.BigInteger(), nullable=False),
        sa.Column("state", JOB_STATE, nullable=False),
        sa.Column("panda_status", sa.Text(), nullable=False),
        sa.Column("site", sa.Text(), nullable=True),
        sa.Column("node", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("wall_s", sa.Double(), nullable=True),
        sa.Column("cpu_s", sa.Double(), nullable=True),
        sa.Column("n_events", sa.BigInteger(), nullable=True),
        sa.Column("state_changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["jobdefid"], ["proddb.ejobdef.jobdefid"], name="fk_ejobexe_jobdefid_ejobdef", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("jobdefid", "attempt", name="pk_ejobexe"),
        schema="proddb",
    )
    op.create_index("ix_ejobexe_pandaid", "ejobexe", ["pandaid"], unique=False, schema="proddb")


def downgrade() -> None:
    """Drop everything."""
    for table in ("ejobexe", "ejobdef", "mirror_cursor", "etask"):
        op.drop_table(table, schema="proddb")
    JOB_STATE.drop(op.get_bind())
    TASK_STATE.drop(op.get_bind())
