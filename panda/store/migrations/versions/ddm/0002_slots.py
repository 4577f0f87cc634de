"""Small files share a slot, and limits count slots."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Old agents leave the slot empty: their copies count for nothing until they end."""
    op.add_column("request", sa.Column("slot", sa.BigInteger(), nullable=True), schema="ddm")


def downgrade() -> None:
    """Without slots every file counts."""
    op.drop_column("request", "slot", schema="ddm")
