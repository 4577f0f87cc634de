"""The end of a payload's output, which pilots send in debug mode."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A new table: old code does not see it."""
    op.create_table(
        "job_tail",
        sa.Column("job_id", sa.BigInteger, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("text", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_job_tail"),
        comment="The end of what a payload printed, as its pilot told last in debug mode.",
    )


def downgrade() -> None:
    """Forget what payloads printed."""
    op.drop_table("job_tail")
