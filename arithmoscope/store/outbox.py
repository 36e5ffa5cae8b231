"""Sends whatever is queued to the broker, and takes experiments back from workers that were lost.

The row comes first and the message second: the broker may be down at a submit, restarted or emptied, and what
was accepted still runs. One of these runs in the API's process.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Protocol

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.experiments import FINAL_STATES
from arithmoscope.contracts.log_context import working_on
from arithmoscope.store.clock_watch import Jumps
from arithmoscope.store.leases import BATCH, Leases, Waiting

logger = logging.getLogger(__name__)


class BrokerDown(Exception):
    """The broker did not take a message. The experiment stays queued and is sent again."""


class Memory(Protocol):
    """What tells whether the broker still has what it was given; both raise `BrokerDown`."""

    def remembers(self) -> bool: ...

    def mark(self) -> None: ...


class Outbox:
    """``send(id, attempt, priority)`` raises `BrokerDown` when it cannot; ``publish`` tells readers of an end.

    ``memory``: where it is given, what waits is sent again at once when the broker has lost it.
    """

    def __init__(
        self,
        store: Leases,
        send: Callable[[str, int, int], None],
        publish: Callable[[str, Any, dict[str, Any]], None] | None = None,
        *,
        memory: Memory | None = None,
        jumps: Jumps | None = None,
        every_s: float = 1.0,
    ) -> None:
        self._store = store
        self._send = send
        self._publish = publish
        self._memory = memory
        self._jumps = jumps or Jumps()
        self._every_s = every_s
        self._wake = threading.Event()
        self._stopping = False
        self._down = False
        self._unmarked: set[Waiting] = set()
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    def start(self) -> None:
        """Goes to work in a thread of its own, until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    def nudge(self) -> None:
        """Something has just been queued: send it now. Returns at once, also when the broker is down."""
        self._wake.set()

    def run_once(self) -> int:
        """Reaps lost leases, then sends all that waits; how many were sent."""
        if self._jumps.settled():
            self._reap()
        try:
            sent = self._send_all()
        except BrokerDown as error:
            if not self._down:
                logger.warning("the broker is down; what is queued waits: %s", error)
            self._down = True
            return 0
        self._down = False
        return sent

    def _reap(self) -> None:
        for experiment_id, state in self._store.reap():
            if self._publish is not None and state in FINAL_STATES:
                self._publish(experiment_id, "state", {"state": state})

    def _send_all(self) -> int:
        if self._memory is not None and not self._memory.remembers():
            self._unmarked.clear()
            # First the rows: who is killed in between does it again.
            if again := self._store.unsend():
                logger.warning("the broker has forgotten what it was given; %d that wait are sent again", again)
            self._memory.mark()
        sent = 0
        while not self._stopping:
            batch = self._store.unsent()
            sent += self._send_some(batch)
            if len(batch) < BATCH:
                break
        return sent

    def _send_some(self, batch: list[Waiting]) -> int:
        fresh = [waiting for waiting in batch if waiting not in self._unmarked]
        try:
            for waiting in fresh:
                self._send(waiting.id, waiting.attempt, waiting.priority)
                self._unmarked.add(waiting)
                with working_on(waiting.id):
                    logger.info("attempt %d of %s is sent to the workers", waiting.attempt, waiting.id)
        finally:
            # On a full disk this fails: what the broker has is not sent to it over and over.
            if self._unmarked:
                self._store.mark_sent(*self._unmarked)
                self._unmarked.clear()
        return len(fresh)

    def _run(self) -> None:
        while not self._stopping:
            try:
                self.run_once()
            except Refusal as error:
                logger.warning("nothing is sent now: %s", error)
            except Exception:  # the thread must outlive whatever it meets, or nothing is ever sent again
                logger.exception("the outbox stumbled; it goes on")
            self._wake.wait(self._every_s)
            self._wake.clear()
