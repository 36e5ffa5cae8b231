"""The outbox: sends queued experiments to the broker, and requeues those of lost workers.

The row is written first and the message sent second, so an accepted experiment runs even if the broker was down,
restarted or emptied. One outbox runs in the API's process.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Protocol

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.experiments import FINAL_STATES
from arithmoscope.contracts.log_context import working_on
from arithmoscope.store.clock_watch import ClockWatch
from arithmoscope.store.leases import BATCH, Leases, QueuedAttempt

logger = logging.getLogger(__name__)


class BrokerDown(Exception):
    """The broker did not accept a message. The experiment stays queued and is sent again."""


class BrokerMarker(Protocol):
    """Detects a broker that has lost its queue; both methods raise `BrokerDown`."""

    def is_marked(self) -> bool: ...

    def mark(self) -> None: ...


class Outbox:
    """``send(id, attempt, priority)`` raises `BrokerDown` on failure; ``publish`` announces final states to readers.

    ``marker``: if given, all queued attempts are sent again as soon as the broker has lost its queue.
    """

    def __init__(
        self,
        store: Leases,
        send: Callable[[str, int, int], None],
        publish: Callable[[str, Any, dict[str, Any]], None] | None = None,
        *,
        marker: BrokerMarker | None = None,
        clock_watch: ClockWatch | None = None,
        every_s: float = 1.0,
    ) -> None:
        self._store = store
        self._send = send
        self._publish = publish
        self._marker = marker
        self._clock_watch = clock_watch or ClockWatch()
        self._every_s = every_s
        self._wake = threading.Event()
        self._stopping = False
        self._down = False
        self._unrecorded: set[QueuedAttempt] = set()
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    def start(self) -> None:
        """Starts the thread, which runs until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    def nudge(self) -> None:
        """Sends newly queued experiments now. Returns immediately, even if the broker is down."""
        self._wake.set()

    def run_once(self) -> int:
        """Reaps lost leases, then sends all queued attempts; returns how many were sent."""
        if self._clock_watch.settled():
            self._reap()
        try:
            sent = self._send_all()
        except BrokerDown as error:
            if not self._down:
                logger.warning("the broker is down; queued experiments wait: %s", error)
            self._down = True
            return 0
        self._down = False
        return sent

    def _reap(self) -> None:
        for experiment_id, state in self._store.reap():
            if self._publish is not None and state in FINAL_STATES:
                self._publish(experiment_id, "state", {"state": state})

    def _send_all(self) -> int:
        if self._marker is not None and not self._marker.is_marked():
            self._unrecorded.clear()
            # First the rows: if the process dies in between, this is repeated.
            if unsent := self._store.mark_all_unsent():
                logger.warning("the broker has lost its queue; sending %d queued experiments again", unsent)
            self._marker.mark()
        sent = 0
        while not self._stopping:
            batch = self._store.unsent()
            sent += self._send_batch(batch)
            if len(batch) < BATCH:
                break
        return sent

    def _send_batch(self, batch: list[QueuedAttempt]) -> int:
        unsent = [attempt for attempt in batch if attempt not in self._unrecorded]
        try:
            for attempt in unsent:
                self._send(attempt.id, attempt.attempt, attempt.priority)
                self._unrecorded.add(attempt)
                with working_on(attempt.id):
                    logger.info("attempt %d of %s was sent to the workers", attempt.attempt, attempt.id)
        finally:
            # On a full disk this fails; the unrecorded attempts are then not sent again.
            if self._unrecorded:
                self._store.mark_sent(*self._unrecorded)
                self._unrecorded.clear()
        return len(unsent)

    def _run(self) -> None:
        while not self._stopping:
            try:
                self.run_once()
            except Refusal as error:
                logger.warning("nothing is sent at present: %s", error)
            except Exception:  # the thread must survive any error, or nothing is ever sent again
                logger.exception("the outbox failed; it continues")
            self._wake.wait(self._every_s)
            self._wake.clear()
