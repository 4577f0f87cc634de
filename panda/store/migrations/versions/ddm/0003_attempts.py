"""Every try to copy a file leaves a row: rate and efficiency of links, and what happened to a file, can be seen."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Old agents write no attempts; they are missed by nobody but the reader."""
    op.create_table(
        "attempt",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("transfer_id", sa.BigInteger(), nullable=True),
        sa.Column("file_id", sa.BigInteger(), nullable=False),
        sa.Column("source_rse", sa.Text(), server_default="", nullable=False),
        sa.Column("rse", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_attempt"),
        schema="ddm",
        comment="How each try to copy a file ended, for those who watch transfers; an empty error means well.",
    )
    for column in ("ended_at", "file_id", "transfer_id"):
        op.create_index(f"ix_attempt_{column}", "attempt", [column], schema="ddm")


def downgrade() -> None:
    """The catalogue and the queue know nothing of it."""
    op.drop_table("attempt", schema="ddm")
