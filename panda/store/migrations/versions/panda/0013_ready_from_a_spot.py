"""The queue's index can be entered at any row: a pop begins where the last one ended, not at the class's head."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Row comparison wants both columns in one direction. Older code, until it is stopped, sorts each class."""
    op.execute("CREATE INDEX ix_ready_from ON ready (class_id, (-priority), job_id)")
    op.execute("DROP INDEX ix_ready_class_id")
    op.execute("ALTER INDEX ix_ready_from RENAME TO ix_ready_class_id")


def downgrade() -> None:
    """As it was."""
    op.execute("CREATE INDEX ix_ready_to ON ready (class_id, priority DESC, job_id)")
    op.execute("DROP INDEX ix_ready_class_id")
    op.execute("ALTER INDEX ix_ready_to RENAME TO ix_ready_class_id")
