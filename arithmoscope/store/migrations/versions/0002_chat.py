"""Chat templates of models."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("models", sa.Column("chat", sa.JSON()))


def downgrade() -> None:
    op.drop_column("models", "chat")
