"""What Harvester tells of itself and its workers, and what operators tell Harvester."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

WHEN = sa.DateTime(timezone=True)
NOW = sa.text("now()")


def upgrade() -> None:
    """New tables, and columns that old code leaves at their defaults."""
    for name in ("computing_element", "submission_host", "resource_type"):
        op.add_column("worker", sa.Column(name, sa.Text()))
    op.add_column("worker", sa.Column("details", JSONB(), server_default="{}", nullable=False))
    op.create_table(
        "harvester",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("version", sa.Text()),
        sa.Column("started_at", WHEN),
        sa.Column("details", JSONB(), server_default="{}", nullable=False),
        sa.Column("first_heard_at", WHEN, server_default=NOW, nullable=False),
        sa.Column("heard_at", WHEN, server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_harvester"),
    )
    op.create_table(
        "harvester_command",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("harvester", sa.Text(), nullable=False),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("arguments", JSONB()),
        sa.Column("ack_requested", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("created_at", WHEN, server_default=NOW, nullable=False),
        sa.Column("fetched_at", WHEN),
        sa.Column("acknowledged_at", WHEN),
        sa.ForeignKeyConstraint(
            ["harvester"], ["harvester.name"], name="fk_harvester_command_harvester_harvester", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_harvester_command"),
    )
    op.create_index(
        "ix_harvester_command_new", "harvester_command", ["harvester", "id"], postgresql_where=sa.text("fetched_at IS NULL")
    )
    op.create_table(
        "harvester_dialog",
        sa.Column("harvester", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("module", sa.Text(), nullable=False),
        sa.Column("about", sa.Text(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("said_at", WHEN, nullable=False),
        sa.Column("heard_at", WHEN, server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("harvester", "number", name="pk_harvester_dialog"),
    )
    op.create_index("ix_harvester_dialog_heard_at", "harvester_dialog", ["heard_at"])
    op.create_table(
        "harvester_metric",
        sa.Column("harvester", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("at", WHEN, nullable=False),
        sa.Column("metrics", JSONB(), nullable=False),
        sa.Column("heard_at", WHEN, server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("harvester", "host", "at", name="pk_harvester_metric"),
    )
    op.create_index("ix_harvester_metric_heard_at", "harvester_metric", ["heard_at"])
    op.create_table(
        "worker_statistic",
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("harvester", sa.Text(), nullable=False),
        sa.Column("job_type", sa.Text(), nullable=False),
        sa.Column("resource_type", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("at", WHEN, server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("queue", "harvester", "job_type", "resource_type", "status", name="pk_worker_statistic"),
    )


def downgrade() -> None:
    """Without them Harvester has nobody to talk to; pilots and our own factory do not mind."""
    for name in ("worker_statistic", "harvester_metric", "harvester_dialog", "harvester_command", "harvester"):
        op.drop_table(name)
    for name in ("details", "resource_type", "submission_host", "computing_element"):
        op.drop_column("worker", name)
