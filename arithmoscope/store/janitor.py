"""Keeps the store in order: a thread beside the outbox, in the API's process."""

from __future__ import annotations

import logging
import threading
import time

from arithmoscope.contracts.errors import Refusal
from arithmoscope.store.clock_watch import Jumps
from arithmoscope.store.garbage_collection import Collected, Garbage

logger = logging.getLogger(__name__)

_LOOKS_AT_FILES_EVERY_S = 3_600.0


class Keeper:
    """Makes room every ``every_s`` seconds, and looks for files that nothing refers to every hour."""

    def __init__(self, store: Garbage, *, every_s: float = 60.0, jumps: Jumps | None = None) -> None:
        self._store = store
        # A clock that is set wrong for a moment must not end what may be brought back for a day.
        self._jumps = jumps or Jumps(settles_s=2 * every_s)
        self._every_s = every_s
        self._looked_at = float("-inf")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        """Goes to work in a thread of its own, until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    def run_once(self) -> Collected:
        """What was thrown away; nothing for a while after the clock was set."""
        if not self._jumps.settled():
            return Collected()
        now = time.monotonic()
        if now - self._looked_at < _LOOKS_AT_FILES_EVERY_S:
            return self._store.make_room()
        collected = self._store.collect_garbage()
        self._looked_at = now
        return collected

    def _run(self) -> None:
        # Not while everything starts.
        while not self._stop.wait(self._every_s):
            try:
                collected = self.run_once()
                if collected != Collected():
                    logger.info("thrown away: %s", collected)
            except Refusal as error:
                logger.warning("the store is not tidied now: %s", error)
            except Exception:  # the thread must outlive whatever it meets
                logger.exception("tidying the store stumbled; it goes on")
