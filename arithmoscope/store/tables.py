"""The database tables, in portable SQL for SQLite and PostgreSQL.

Times are seconds since 1970 (UTC) as double precision, so that leases are plain arithmetic everywhere.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

# The newest migration. A database at this revision is opened without loading Alembic.
REVISION = "0004"

metadata = MetaData()
_json = JSON(none_as_null=True)

experiments = Table(
    "experiments",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("model", String(200), nullable=False),
    Column("spec", _json, nullable=False),
    # Hash of the question; NULL: never returned for an identical submission.
    Column("key", String(64)),
    Column("parent", String(64)),
    # Written by users.
    Column("name", String(120), nullable=False, server_default=""),
    Column("notes", Text, nullable=False, server_default=""),
    # 0 is the highest, as in the broker.
    Column("priority", Integer, nullable=False, server_default="5"),
    # Submitter for the quota: a short name of the token, never the token itself.
    Column("asked_by", String(32), nullable=False, server_default=""),
    # Time of deletion, which can be undone for a while.
    Column("deleted_at", Double),
    Column("bundled", Boolean, nullable=False),
    Column("state", String(16), nullable=False),
    # Fencing token of a worker's writes: increases whenever the experiment is requeued.
    Column("attempt", Integer, nullable=False),
    # Consecutive attempts that saved no new chunk.
    Column("fruitless", Integer, nullable=False),
    Column("lease_owner", String(200)),
    Column("lease_until", Double),
    # Length of the lease: one that ends later than now plus this was taken before the clock was set back.
    Column("lease_s", Double),
    # Start of this attempt; NULL also if it continues from chunks and so gives no duration.
    Column("claimed_at", Double),
    Column("progress", _json, nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Column("error", _json),
    # When this attempt was last sent to the broker; NULL: not yet.
    Column("sent_at", Double),
    Column("created_at", Double, nullable=False),
    Column("queued_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
)

# Not deleted.
NOT_DELETED = experiments.c.deleted_at.is_(None)
REUSABLE = experiments.c.state.not_in(("failed", "cancelled")) & NOT_DELETED

Index("one_alive_per_key", experiments.c.key, unique=True, sqlite_where=REUSABLE, postgresql_where=REUSABLE)
Index("experiments_newest", experiments.c.created_at, experiments.c.id)
# Covering index for queue queries, so that the rows themselves are not read.
Index(
    "experiments_queue",
    experiments.c.state,
    experiments.c.priority,
    experiments.c.queued_at,
    experiments.c.id,
    experiments.c.kind,
    experiments.c.model,
    experiments.c.deleted_at,
)
Index("experiments_asked_by", experiments.c.asked_by, experiments.c.state)

artifacts = Table(
    "artifacts",
    metadata,
    Column("experiment_id", String(64), ForeignKey("experiments.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String(200), primary_key=True),
    Column("sha256", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    # Time of last use, for recomputable artifacts; NULL: never.
    Column("used_at", Double),
)

# Finished parts of unfinished experiments: the next attempt continues from them.
chunks = Table(
    "chunks",
    metadata,
    Column("experiment_id", String(64), ForeignKey("experiments.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("sha256", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
)

models = Table(
    "models",
    metadata,
    Column("id", String(200), primary_key=True),
    Column("card", _json, nullable=False),
    Column("tokenizer_json", Text),
    # A chat frame, or the problem with the template; NULL: there is no template.
    Column("chat", _json),
)

workers = Table(
    "workers",
    metadata,
    Column("id", String(200), primary_key=True),
    Column("status", _json, nullable=False),
    Column("seen_at", Double, nullable=False),
)

# Mean duration of experiments (moving average), for waiting time estimates.
durations = Table(
    "durations",
    metadata,
    Column("kind", String(32), primary_key=True),
    Column("model", String(200), primary_key=True),
    Column("mean_s", Double, nullable=False),
    Column("n", Integer, nullable=False),
)

# Used single-use login links, by their SHA-256.
used_links = Table(
    "used_links",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("used_at", Double, nullable=False),
)

# One row: this database's id, which identifies its artifacts.
owner = Table("owner", metadata, Column("id", String(32), primary_key=True))
