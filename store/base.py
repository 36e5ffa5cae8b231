"""What every part of the store stands on: the database, the artifact files, the clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import Connection, Table, select

from contracts.errors import Refusal
from contracts.experiments import Experiment
from store.blobs import Blobs
from store.database import Database
from store.rows import VIEW, experiment_of
from store.tables import experiments


class Base:
    """Connections, files and the clock that leases and orders go by (seconds since 1970)."""

    def __init__(self, database: Database, blobs: Blobs, clock: Callable[[], float]) -> None:
        self._database = database
        self._blobs = blobs
        self._clock = clock


def read_experiment(connection: Connection, experiment_id: str) -> Experiment:
    """Refuses (``unknown_experiment``) an id that is not there."""
    row = connection.execute(select(*VIEW).where(experiments.c.id == experiment_id)).mappings().first()
    if row is None:
        raise unknown_experiment(experiment_id)
    return experiment_of(row)


def unknown_experiment(experiment_id: str) -> Refusal:
    return Refusal("unknown_experiment", f"There is no experiment {experiment_id[:40]!r}.")


def put_rows(connection: Connection, table: Table, rows: Iterable[dict[str, Any]]) -> None:
    """Inserts, replacing rows of the same primary key."""
    for row in rows:
        same = (column == row[column.name] for column in table.primary_key)
        connection.execute(table.delete().where(*same))
        connection.execute(table.insert().values(**row))
