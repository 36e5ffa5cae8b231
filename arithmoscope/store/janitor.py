"""The janitor: a thread that runs garbage collection in the API's process, like the outbox."""

from __future__ import annotations

import logging
import threading
import time

from arithmoscope.contracts.errors import Refusal
from arithmoscope.store.clock_watch import ClockWatch
from arithmoscope.store.garbage_collection import Collected, GarbageCollector

logger = logging.getLogger(__name__)

_LIST_FILES_EVERY_S = 3_600.0


class Janitor:
    """Frees disk space every ``every_s`` seconds, and removes unreferenced files every hour."""

    def __init__(
        self, store: GarbageCollector, *, every_s: float = 60.0, clock_watch: ClockWatch | None = None
    ) -> None:
        self._store = store
        # A clock that is wrong for a moment must not purge deletions that can be undone for a day.
        self._clock_watch = clock_watch or ClockWatch(settles_s=2 * every_s)
        self._every_s = every_s
        self._files_listed_at = float("-inf")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="janitor", daemon=True)

    def start(self) -> None:
        """Starts the thread, which runs until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    def run_once(self) -> Collected:
        """Collects once and returns what was removed; does nothing for a while after the clock was set."""
        if not self._clock_watch.settled():
            return Collected()
        now = time.monotonic()
        if now - self._files_listed_at < _LIST_FILES_EVERY_S:
            return self._store.make_room()
        collected = self._store.collect_garbage()
        self._files_listed_at = now
        return collected

    def _run(self) -> None:
        # The first collection comes after startup.
        while not self._stop.wait(self._every_s):
            try:
                collected = self.run_once()
                if collected != Collected():
                    logger.info("collected: %s", collected)
            except Refusal as error:
                logger.warning("garbage collection failed and will be retried: %s", error)
            except Exception:  # the thread must survive any error
                logger.exception("garbage collection failed; it continues")
