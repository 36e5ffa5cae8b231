"""What the database says, read beside the server; and every success counted by the database itself.

A trigger writes a line whenever a row is set to ``succeeded``, in the same transaction: no log, no event and no
process of the server can hide a second one.
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
    """An experiment as the database has it. ``fruitless``: attempts in a row that saved no new chunk, this one too."""

    id: str
    state: str
    attempt: int
    stage: str
    owner: str | None
    fruitless: int


class Ledger:
    """Of one data folder. Opens the file anew for every question, so that no lock of ours is ever held."""

    def __init__(self, data: Path) -> None:
        self._file = data / "arithmoscope.db"

    def count_finishes(self) -> None:
        """From now on. To be called before the first submit."""
        with self._open() as database:
            database.executescript(_COUNTING)

    def finishes(self) -> dict[str, int]:
        """How often each experiment was set to ``succeeded``."""
        with self._open() as database:
            return dict(database.execute("SELECT id, count(*) FROM soak_finishes GROUP BY id"))

    def rows(self) -> dict[str, Row]:
        """All but the bundled example."""
        query = "SELECT id, state, attempt, progress, lease_owner, fruitless FROM experiments WHERE NOT bundled"
        found = {}
        with self._open() as database:
            for name, state, attempt, progress, owner, fruitless in database.execute(query):
                stage = json.loads(progress)["stage"]
                found[name] = Row(name, state, attempt, stage, owner, fruitless)
        return found

    def workers_seen_at(self) -> dict[str, float]:
        """When each worker was last seen, by its own clock. One that was killed stays for a while."""
        with self._open() as database:
            return dict(database.execute("SELECT id, seen_at FROM workers").fetchall())

    def created_at(self, experiment_id: str) -> float:
        """When it was asked, by the API's clock."""
        with self._open() as database:
            query = "SELECT created_at FROM experiments WHERE id = ?"
            return float(database.execute(query, (experiment_id,)).fetchone()[0])

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._file, timeout=10)) as database, database:
            yield database
