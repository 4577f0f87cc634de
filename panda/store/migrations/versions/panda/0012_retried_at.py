"""When somebody last had a task tried again: its lifetime counts from then, not from its submission alone."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing is known of earlier retries: those tasks count from their submission, as before."""
    op.add_column("production_task", sa.Column("retried_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    """As it was."""
    op.drop_column("production_task", "retried_at")
