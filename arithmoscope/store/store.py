"""The store: persistent experiments, models and workers behind one class."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from arithmoscope.store.blobs import Blobs
from arithmoscope.store.bundled_experiments import BundledExperiments
from arithmoscope.store.database import Database
from arithmoscope.store.garbage_collection import GarbageCollector
from arithmoscope.store.leases import Leases
from arithmoscope.store.login_links import LoginLinks
from arithmoscope.store.registry import Registry
from arithmoscope.store.stats import Stats


class Store(Leases, Registry, BundledExperiments, Stats, LoginLinks, GarbageCollector):
    """Safe to share between threads; each process opens its own. Machines sharing a store need synchronized clocks."""

    @classmethod
    def open(
        cls,
        database_url: str,
        artifacts_url: str,
        *,
        budget: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> Store:
        """Connects, and creates or upgrades the schema, also if several processes open it at once.

        ``budget``: maximum total size of the artifacts in bytes.
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
