"""Shared foundation of the store's mixins: the database, the artifact files, the clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

from arithmoscope.contracts.errors import Refusal
from arithmoscope.store.blobs import Blobs
from arithmoscope.store.database import Database


class StoreBase:
    """Holds the database, the artifact files and the clock (seconds since 1970) for leases and queue order.

    ``budget``: maximum total size of the artifacts in bytes; None: limited by the disk only.
    """

    def __init__(self, database: Database, blobs: Blobs, clock: Callable[[], float], budget: int | None = None) -> None:
        self._database = database
        self._blobs = blobs
        self._clock = clock
        self._budget = budget


def unknown_experiment(experiment_id: str) -> Refusal:
    return Refusal("unknown_experiment", f"There is no experiment {experiment_id[:40]!r}.")


def upsert_rows(connection: Connection, table: Table, rows: Iterable[dict[str, Any]]) -> None:
    """Inserts rows, or updates those with the same primary key; safe under concurrency."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    keys = [column.name for column in table.primary_key]
    for row in rows:
        new = insert(table).values(**row)
        others = {name: new.excluded[name] for name in row if name not in keys}
        connection.execute(new.on_conflict_do_update(index_elements=keys, set_=others))
