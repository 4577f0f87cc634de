"""More room in the pages of jobs: a batch of pilots takes neighbours, whose new versions must fit beside the old."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """It counts for new pages; nothing is rewritten."""
    op.execute("ALTER TABLE job SET (fillfactor = 60)")


def downgrade() -> None:
    """As it was."""
    op.execute("ALTER TABLE job SET (fillfactor = 75)")
