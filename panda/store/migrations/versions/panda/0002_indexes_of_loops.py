"""What the loops ask for every second or minute is found by an index, however long the history is."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Partial indexes: small, because the rows they hold soon leave them."""
    op.create_index("ix_job_output_ready", "job_output", ["dataset_id", "job_id"], postgresql_where=sa.text("state = 'ready'"))
    op.create_index("ix_job_event_sent", "job_event", ["at"], postgresql_where=sa.text("to_state = 'sent'"))
    op.create_index("ix_block_cancelled", "block", ["id"], postgresql_where=sa.text("state = 'cancelled'"))
    op.create_index("ix_pilot_request_at", "pilot_request", ["at"])


def downgrade() -> None:
    """Without them everything works, slower."""
    op.drop_index("ix_pilot_request_at", table_name="pilot_request")
    op.drop_index("ix_block_cancelled", table_name="block")
    op.drop_index("ix_job_event_sent", table_name="job_event")
    op.drop_index("ix_job_output_ready", table_name="job_output")
