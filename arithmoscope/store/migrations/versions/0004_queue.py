"""Lease lengths, last use and owner of artifacts, and indexes for queue and quota."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("experiments", sa.Column("lease_s", sa.Double))
    op.add_column("experiments", sa.Column("claimed_at", sa.Double))
    op.add_column("artifacts", sa.Column("used_at", sa.Double))
    op.drop_index("experiments_queue", "experiments")
    columns = ["state", "priority", "queued_at", "id", "kind", "model", "deleted_at"]
    op.create_index("experiments_queue", "experiments", columns)
    op.create_index("experiments_asked_by", "experiments", ["asked_by", "state"])
    owner = op.create_table("owner", sa.Column("id", sa.String(32), primary_key=True))
    op.bulk_insert(owner, [{"id": secrets.token_hex(16)}])


def downgrade() -> None:
    op.drop_table("owner")
    op.drop_index("experiments_asked_by", "experiments")
    op.drop_index("experiments_queue", "experiments")
    op.create_index("experiments_queue", "experiments", ["state", "priority", "queued_at", "id"])
    op.drop_column("artifacts", "used_at")
    op.drop_column("experiments", "claimed_at")
    op.drop_column("experiments", "lease_s")
