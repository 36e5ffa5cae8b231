"""The store as one thing: what is kept of experiments, models and workers."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from sqlalchemy import select

from contracts.errors import Refusal
from store.blobs import Blobs
from store.bundles import Bundles
from store.database import Database
from store.leases import Leases
from store.registry import Registry
from store.tables import experiments


class Store(Leases, Registry, Bundles):
    """Threads may share one; every process opens its own. Machines that share one agree on the time."""

    @classmethod
    def open(cls, database_url: str, artifacts_url: str, *, clock: Callable[[], float] = time.time) -> Store:
        """Connects; makes or upgrades the schema, also when several processes open at once."""
        return cls(Database.open(database_url), Blobs(artifacts_url), clock)

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def is_up(self) -> bool:
        """Whether the database answers."""
        try:
            with self._database.read() as connection:
                connection.execute(select(1))
        except Refusal:
            return False
        return True

    def counts(self) -> tuple[int, int]:
        """How many experiments are running, and how many wait."""
        with self._database.read() as connection:
            states = select(experiments.c.state).where(experiments.c.state.in_(("queued", "running")))
            found = list(connection.execute(states).scalars())
        return found.count("running"), found.count("queued")
