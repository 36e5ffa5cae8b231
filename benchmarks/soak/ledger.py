"""Reads the database independently of the server, and counts every success in the database itself.

A trigger writes a row whenever an experiment is set to ``succeeded``, in the same transaction: no log, event or server
process can hide a second success.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

_COUNTING = """
CREATE TABLE IF NOT EXISTS soak_finishes (id TEXT NOT NULL, attempt INTEGER NOT NULL);
CREATE TRIGGER IF NOT EXISTS soak_counts AFTER UPDATE OF state ON experiments WHEN NEW.state = 'succeeded'
BEGIN INSERT INTO soak_finishes VALUES (NEW.id, NEW.attempt); END;
"""


@dataclass(frozen=True)
class Row:
    """An experiment as stored. ``fruitless``: consecutive attempts that saved no new chunk, this one included."""

    id: str
    state: str
    attempt: int
    stage: str
    owner: str | None
    fruitless: int


class Ledger:
    """The database of one data folder. Opens the file anew for every query, so that it never keeps a lock."""

    def __init__(self, data: Path) -> None:
        self._file = data / "arithmoscope.db"

    def count_finishes(self) -> None:
        """Starts counting; call it before the first submit."""
        with self._open() as database:
            database.executescript(_COUNTING)

    def finishes(self) -> dict[str, int]:
        """How often each experiment was set to ``succeeded``."""
        with self._open() as database:
            return dict(database.execute("SELECT id, count(*) FROM soak_finishes GROUP BY id"))

    def rows(self) -> dict[str, Row]:
        """All experiments except the bundled example."""
        query = "SELECT id, state, attempt, progress, lease_owner, fruitless FROM experiments WHERE NOT bundled"
        rows = {}
        with self._open() as database:
            for name, state, attempt, progress, owner, fruitless in database.execute(query):
                stage = json.loads(progress)["stage"]
                rows[name] = Row(name, state, attempt, stage, owner, fruitless)
        return rows

    def workers_seen_at(self) -> dict[str, float]:
        """When each worker was last seen, by its own clock. A killed worker stays listed for a while."""
        with self._open() as database:
            return dict(database.execute("SELECT id, seen_at FROM workers").fetchall())

    def created_at(self, experiment_id: str) -> float:
        """When it was submitted, by the API's clock."""
        with self._open() as database:
            query = "SELECT created_at FROM experiments WHERE id = ?"
            return float(database.execute(query, (experiment_id,)).fetchone()[0])

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._file, timeout=10)) as database, database:
            yield database
