"""How long a lease is and when it was taken, when an artifact was last read, and indexes for queue and quota."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("experiments", sa.Column("lease_s", sa.Double()))
    op.add_column("experiments", sa.Column("claimed_at", sa.Double()))
    op.add_column("artifacts", sa.Column("used_at", sa.Double()))
    op.drop_index("experiments_queue", "experiments")
    columns = ["state", "priority", "queued_at", "id", "kind", "model", "deleted_at"]
    op.create_index("experiments_queue", "experiments", columns)
    op.create_index("experiments_asked_by", "experiments", ["asked_by", "state"])


def downgrade() -> None:
    op.drop_index("experiments_asked_by", "experiments")
    op.drop_index("experiments_queue", "experiments")
    op.create_index("experiments_queue", "experiments", ["state", "priority", "queued_at", "id"])
    op.drop_column("artifacts", "used_at")
    op.drop_column("experiments", "claimed_at")
    op.drop_column("experiments", "lease_s")
