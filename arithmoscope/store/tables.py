"""The tables, in portable SQL: SQLite and PostgreSQL keep them alike.

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

# The newest migration. A database that already has it is opened without loading Alembic.
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
    # NULL: never found by asking the same question again.
    Column("key", String(64)),
    Column("parent", String(64)),
    # What people write beside it.
    Column("name", String(120), nullable=False, server_default=""),
    Column("notes", Text, nullable=False, server_default=""),
    # 0 is the highest, as in the broker.
    Column("priority", Integer, nullable=False, server_default="5"),
    # Whose quota it counts for: a short name of the token, never the token.
    Column("asked_by", String(32), nullable=False, server_default=""),
    # Deleted, and still to be brought back for a while.
    Column("deleted_at", Double),
    Column("bundled", Boolean, nullable=False),
    Column("state", String(16), nullable=False),
    # Every write of a worker is fenced by it: it rises whenever the experiment goes back to the queue.
    Column("attempt", Integer, nullable=False),
    # Attempts in a row that saved no new chunk.
    Column("fruitless", Integer, nullable=False),
    Column("lease_owner", String(200)),
    Column("lease_until", Double),
    # How long a lease is at most: one that ends later was taken before the clock was put back.
    Column("lease_s", Double),
    # When this attempt began its work; NULL also where it continues from chunks, and so is no measure.
    Column("claimed_at", Double),
    Column("progress", _json, nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Column("error", _json),
    # When the broker was last given this attempt; NULL: not yet.
    Column("sent_at", Double),
    Column("created_at", Double, nullable=False),
    Column("queued_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
)

# Not deleted.
SHOWN = experiments.c.deleted_at.is_(None)
ALIVE = experiments.c.state.not_in(("failed", "cancelled")) & SHOWN

Index("one_alive_per_key", experiments.c.key, unique=True, sqlite_where=ALIVE, postgresql_where=ALIVE)
Index("experiments_newest", experiments.c.created_at, experiments.c.id)
# With all that is asked about the line, so that the rows themselves are not read.
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
    # When somebody last read it, of those that can be computed again; NULL: never.
    Column("used_at", Double),
)

# What a worker has finished of an experiment that is not finished: the next attempt continues from here.
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
    # A chat frame, or the problem that its template has; NULL: there is no template.
    Column("chat", _json),
)

workers = Table(
    "workers",
    metadata,
    Column("id", String(200), primary_key=True),
    Column("status", _json, nullable=False),
    Column("seen_at", Double, nullable=False),
)

# How long experiments took, as a moving average: what a waiting one may expect.
durations = Table(
    "durations",
    metadata,
    Column("kind", String(32), primary_key=True),
    Column("model", String(200), primary_key=True),
    Column("mean_s", Double, nullable=False),
    Column("n", Integer, nullable=False),
)

# Links that let somebody in once, by their SHA-256.
used_links = Table(
    "used_links",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("used_at", Double, nullable=False),
)

# One row: this database's own name, by which it knows its artifacts from another's.
owner = Table("owner", metadata, Column("id", String(32), primary_key=True))
