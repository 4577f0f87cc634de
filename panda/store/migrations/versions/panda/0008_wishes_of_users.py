"""What users of PanDA's own clients may ask for: several sites, sites to avoid, some files of a dataset, their secrets."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """New columns with defaults: old code does not see them."""
    for name in ("sites", "excluded_sites"):
        op.add_column("production_task", sa.Column(name, sa.ARRAY(sa.Text), nullable=False, server_default="{}"))
    for table, name in (("production_task", "use_secrets"), ("user_secret", "sealed")):
        op.add_column(table, sa.Column(name, sa.Boolean, nullable=False, server_default=sa.text("false")))
    op.add_column("task_input", sa.Column("selection", JSONB))


def downgrade() -> None:
    """Forget these wishes."""
    op.drop_column("task_input", "selection")
    for table, name in (
        ("user_secret", "sealed"),
        ("production_task", "use_secrets"),
        ("production_task", "excluded_sites"),
        ("production_task", "sites"),
    ):
        op.drop_column(table, name)
