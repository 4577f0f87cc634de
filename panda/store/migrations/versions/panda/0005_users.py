"""What users of PanDA's own clients need: their files in the cache, their secrets, a limit on the files of a task."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

WHEN = sa.DateTime(timezone=True)


def upgrade() -> None:
    """New tables and a nullable column: old code does not see them."""
    op.create_table(
        "cache_file",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("checksum", sa.BigInteger),
        sa.Column("uploaded_at", WHEN, nullable=False, server_default=sa.func.now()),
        sa.Column("used_at", WHEN, nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("name", name="pk_cache_file"),
    )
    op.create_index("ix_cache_file_contents", "cache_file", ["owner", "bytes", "checksum"])
    op.create_index("ix_cache_file_used_at", "cache_file", ["used_at"])
    op.create_table(
        "user_secret",
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("set_at", WHEN, nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("owner", "key", name="pk_user_secret"),
    )
    op.add_column("production_task", sa.Column("max_files", sa.Integer))


def downgrade() -> None:
    """Forget files, secrets and limits."""
    op.drop_column("production_task", "max_files")
    op.drop_table("user_secret")
    op.drop_table("cache_file")
