"""The store as one thing: what is kept of experiments, models and workers."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from store.blobs import Blobs
from store.bundles import Bundles
from store.database import Database
from store.facts import Facts
from store.garbage import Garbage
from store.leases import Leases
from store.links import Links
from store.registry import Registry


class Store(Leases, Registry, Bundles, Facts, Links, Garbage):
    """Threads may share one; every process opens its own. Machines that share one agree on the time."""

    @classmethod
    def open(
        cls,
        database_url: str,
        artifacts_url: str,
        *,
        budget: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> Store:
        """Connects; makes or upgrades the schema, also when several processes open at once.

        ``budget``: how many bytes the artifacts may come to.
        """
        blobs = Blobs(artifacts_url)
        try:
            return cls(Database.open(database_url), blobs, clock, budget)
        except BaseException:
            blobs.close()
            raise

    def close(self) -> None:
        self._database.close()
        self._blobs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
