"""The store as one thing: what is kept of experiments, models and workers."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from arithmoscope.store.blobs import Blobs
from arithmoscope.store.bundled_experiments import Bundles
from arithmoscope.store.database import Database
from arithmoscope.store.garbage_collection import Garbage
from arithmoscope.store.leases import Leases
from arithmoscope.store.login_links import Links
from arithmoscope.store.registry import Registry
from arithmoscope.store.stats import Facts


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
