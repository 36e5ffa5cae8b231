"""Disk quota: the total size of the artifacts, and the part of it that cannot be evicted."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, func, select

from arithmoscope.contracts.errors import Refusal
from arithmoscope.store.tables import NOT_DELETED, artifacts, chunks, experiments
from arithmoscope.store.views import is_view_in_sql


def recomputable() -> ColumnElement[bool]:
    """Condition: artifacts that a worker can recompute on demand (`arithmoscope.store.views`). Never a result."""
    return is_view_in_sql(artifacts.c.name) & experiments.c.bundled.is_(False)


def stored_bytes(connection: Connection, *, needed: bool = False) -> int:
    """Total size of artifacts and chunks; ``needed``: without recomputable and deleted ones."""
    total = 0
    for table in (artifacts, chunks):
        query = select(func.coalesce(func.sum(table.c.size), 0)).join_from(table, experiments)
        if needed:
            query = query.where(NOT_DELETED)
            if table is artifacts:
                query = query.where(~recomputable())
        total += int(connection.execute(query).scalar_one())
    return total


def check_disk_quota(connection: Connection, budget: int) -> None:
    """Raises Refusal (`store_full`) if evicting everything evictable would not bring the store below its budget."""
    used = stored_bytes(connection, needed=True)
    if used >= budget:
        raise Refusal("store_full", f"The results take {used / 1e6:.1f} MB of {budget / 1e6:.1f} MB.")
