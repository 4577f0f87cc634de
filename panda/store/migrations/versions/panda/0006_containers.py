"""Payloads in containers: the image a task asks for, and what a site runs images with."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

VECTOR = (
    "label", "share", "vo", "owner", "working_group", "processing_type", "architecture", "release", "memory_mb",
    "disk_mb", "cores", "work_hs23_s", "wall_s",
)  # fmt: skip


def upgrade() -> None:
    """New columns with defaults; the vector of needs keeps the name of its constraint, which old code uses."""
    op.add_column("site", sa.Column("container_runtime", sa.Text, nullable=False, server_default=""))
    op.add_column("production_task", sa.Column("container", sa.Text, nullable=False, server_default=""))
    op.add_column("needs", sa.Column("in_container", sa.Boolean, nullable=False, server_default=sa.text("false")))
    op.drop_constraint("uq_needs_vector", "needs")
    op.create_unique_constraint("uq_needs_vector", "needs", [*VECTOR, "in_container"])


def downgrade() -> None:
    """Forget containers; impossible while a task that has run wanted one beside an equal one that did not."""
    op.drop_constraint("uq_needs_vector", "needs")
    op.create_unique_constraint("uq_needs_vector", "needs", list(VECTOR))
    op.drop_column("needs", "in_container")
    op.drop_column("production_task", "container")
    op.drop_column("site", "container_runtime")
