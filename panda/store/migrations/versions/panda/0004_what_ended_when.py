"""What ended in the last hours is found by an index: errors, failing worker nodes and sites are asked for by time."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A partial index: one entry per job that failed or finished."""
    where = sa.text("to_state IN ('failed', 'finished')")
    op.create_index("ix_job_event_ended", "job_event", ["at"], postgresql_where=where)


def downgrade() -> None:
    """Without it everything works, slower."""
    op.drop_index("ix_job_event_ended", table_name="job_event")
