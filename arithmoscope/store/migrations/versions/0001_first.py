"""Tables of experiments, artifacts, chunks, models and workers."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "experiments",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("key", sa.String(64)),
        sa.Column("parent", sa.String(64)),
        sa.Column("bundled", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("fruitless", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.String(200)),
        sa.Column("lease_until", sa.Double),
        sa.Column("progress", sa.JSON(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("error", sa.JSON()),
        sa.Column("sent_at", sa.Double),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("queued_at", sa.Double, nullable=False),
        sa.Column("started_at", sa.Double),
        sa.Column("finished_at", sa.Double),
    )
    alive = sa.text("state NOT IN ('failed', 'cancelled')")
    op.create_index(
        "one_alive_per_key", "experiments", ["key"], unique=True, sqlite_where=alive, postgresql_where=alive
    )
    op.create_index("experiments_newest", "experiments", ["created_at", "id"])
    op.create_index("experiments_queue", "experiments", ["state", "queued_at", "id"])
    named = sa.Column("name", sa.String(200), primary_key=True)
    numbered = sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False)
    for table, second in (("artifacts", named), ("chunks", numbered)):
        op.create_table(
            table,
            sa.Column(
                "experiment_id",
                sa.String(64),
                sa.ForeignKey("experiments.id", ondelete="CASCADE"),
                primary_key=True,
            ),
            second,
            sa.Column("sha256", sa.String(64), nullable=False),
            sa.Column("size", sa.BigInteger(), nullable=False),
        )
    op.create_table(
        "models",
        sa.Column("id", sa.String(200), primary_key=True),
        sa.Column("card", sa.JSON(), nullable=False),
        sa.Column("tokenizer_json", sa.Text()),
    )
    op.create_table(
        "workers",
        sa.Column("id", sa.String(200), primary_key=True),
        sa.Column("status", sa.JSON(), nullable=False),
        sa.Column("seen_at", sa.Double, nullable=False),
    )


def downgrade() -> None:
    for table in ("workers", "models", "chunks", "artifacts", "experiments"):
        op.drop_table(table)
