"""Jobs of tasks that ended long ago live in an archive by month; `job_all` is every job, wherever it lives."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

WHEN = sa.DateTime(timezone=True)
STATUS = postgresql.ENUM(name="job_status", create_type=False)
COLUMNS = (
    "id, task_id, bunch_id, parent_id, first_event, ordinal, input_first, input_count, n_events, needs_id, lease, "
    "status, attempt, site_id, priority_offset, explicit_input, parameters"
)


def upgrade() -> None:
    """A new table without partitions, a view over both, a nullable column: old code does not see them."""
    op.create_table(
        "job_archive",
        sa.Column("id", sa.BigInteger, nullable=False),
        sa.Column("task_id", sa.BigInteger, nullable=False),
        sa.Column("bunch_id", sa.BigInteger, nullable=False),
        sa.Column("parent_id", sa.BigInteger),
        sa.Column("first_event", sa.BigInteger),
        sa.Column("ended_at", WHEN, nullable=False),
        sa.Column("ordinal", sa.Integer, nullable=False),
        sa.Column("input_first", sa.Integer),
        sa.Column("input_count", sa.Integer),
        sa.Column("n_events", sa.Integer),
        sa.Column("needs_id", sa.Integer, nullable=False),
        sa.Column("lease", sa.Integer, nullable=False),
        sa.Column("status", STATUS, nullable=False),
        sa.Column("attempt", sa.SmallInteger, nullable=False),
        sa.Column("site_id", sa.SmallInteger),
        sa.Column("priority_offset", sa.SmallInteger),
        sa.Column("explicit_input", sa.Boolean),
        sa.Column("parameters", sa.Text),
        sa.PrimaryKeyConstraint("id", "ended_at", name="pk_job_archive"),
        postgresql_partition_by="RANGE (ended_at)",
    )
    op.create_index("ix_job_archive_task_id_ordinal", "job_archive", ["task_id", "ordinal"])
    op.create_index("ix_job_archive_bunch_id", "job_archive", ["bunch_id"])
    op.execute(f"""
        CREATE VIEW job_all AS
        SELECT {COLUMNS} FROM job UNION ALL SELECT {COLUMNS} FROM job_archive
    """)  # noqa: S608 - constants of this file
    op.add_column("production_task", sa.Column("archived_at", WHEN))
    where = sa.text("archived_at IS NULL AND ended_at IS NOT NULL")
    op.create_index("ix_production_task_to_archive", "production_task", ["ended_at"], postgresql_where=where)


def downgrade() -> None:
    """Bring every archived job back, then forget the archive."""
    op.execute(f"INSERT INTO job ({COLUMNS}) OVERRIDING SYSTEM VALUE SELECT {COLUMNS} FROM job_archive")  # noqa: S608
    op.execute("DROP VIEW job_all")
    op.drop_index("ix_production_task_to_archive", table_name="production_task")
    op.drop_column("production_task", "archived_at")
    op.drop_table("job_archive")
