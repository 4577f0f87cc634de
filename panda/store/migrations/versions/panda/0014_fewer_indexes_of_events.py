"""A step of a job is in four indexes instead of six: events are numbered by transaction, and found by task as ends only."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The key begins with the transaction, by which events are folded; steps of jobs are found by their job."""
    op.execute("CREATE UNIQUE INDEX pk_job_event_new ON job_event (xid, id)")
    op.execute("ALTER TABLE job_event DROP CONSTRAINT pk_job_event")
    op.execute("ALTER TABLE job_event ADD CONSTRAINT pk_job_event PRIMARY KEY USING INDEX pk_job_event_new")
    op.execute("DROP INDEX ix_job_event_xid")
    op.execute("""
        CREATE INDEX ix_job_event_of_task ON job_event (task_id, id)
        WHERE to_state IN ('finished', 'failed', 'cancelled', 'closed') OR bunch_id IS NOT NULL
    """)
    op.execute("DROP INDEX ix_job_event_task_id")


def downgrade() -> None:
    """As it was."""
    op.execute("CREATE INDEX ix_job_event_task_id ON job_event (task_id, id)")
    op.execute("DROP INDEX ix_job_event_of_task")
    op.execute("CREATE INDEX ix_job_event_xid ON job_event (xid)")
    op.execute("ALTER TABLE job_event DROP CONSTRAINT pk_job_event")
    op.execute("ALTER TABLE job_event ADD CONSTRAINT pk_job_event PRIMARY KEY (id)")
