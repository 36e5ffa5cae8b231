"""Names, notes, priorities, deletion with undo, quotas, expected durations, single-use login links."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("experiments", sa.Column("name", sa.String(120), nullable=False, server_default=""))
    op.add_column("experiments", sa.Column("notes", sa.Text(), nullable=False, server_default=""))
    op.add_column("experiments", sa.Column("priority", sa.Integer(), nullable=False, server_default="5"))
    op.add_column("experiments", sa.Column("asked_by", sa.String(32), nullable=False, server_default=""))
    op.add_column("experiments", sa.Column("deleted_at", sa.Double))
    _indexes("state NOT IN ('failed', 'cancelled') AND deleted_at IS NULL", ["state", "priority", "queued_at", "id"])
    op.create_table(
        "durations",
        sa.Column("kind", sa.String(32), primary_key=True),
        sa.Column("model", sa.String(200), primary_key=True),
        sa.Column("mean_s", sa.Double, nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
    )
    op.create_table(
        "used_links",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("used_at", sa.Double, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("used_links")
    op.drop_table("durations")
    op.execute("DELETE FROM experiments WHERE deleted_at IS NOT NULL")
    _indexes("state NOT IN ('failed', 'cancelled')", ["state", "queued_at", "id"])
    for column in ("deleted_at", "asked_by", "priority", "notes", "name"):
        op.drop_column("experiments", column)


def _indexes(alive: str, queue: list[str]) -> None:
    op.drop_index("one_alive_per_key", "experiments")
    op.create_index(
        "one_alive_per_key",
        "experiments",
        ["key"],
        unique=True,
        sqlite_where=sa.text(alive),
        postgresql_where=sa.text(alive),
    )
    op.drop_index("experiments_queue", "experiments")
    op.create_index("experiments_queue", "experiments", queue)
