"""Sends whatever is queued to the broker, and takes experiments back from workers that were lost.

The row comes first and the message second: the broker may be down at a submit, restarted or emptied, and what
was accepted still runs. One of these runs in the API's process.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from contracts.errors import Refusal
from contracts.experiments import FINAL_STATES
from store.leases import Leases

logger = logging.getLogger(__name__)


class BrokerDown(Exception):
    """The broker did not take a message. The experiment stays queued and is sent again."""


class Outbox:
    """``send(id, attempt, priority)`` raises `BrokerDown` when it cannot; ``publish`` tells readers of an end."""

    def __init__(
        self,
        store: Leases,
        send: Callable[[str, int, int], None],
        publish: Callable[[str, Any, dict[str, Any]], None] | None = None,
        *,
        every_s: float = 1.0,
    ) -> None:
        self._store = store
        self._send = send
        self._publish = publish
        self._every_s = every_s
        self._wake = threading.Event()
        self._stopping = False
        self._down = False
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
        """Reaps lost leases, then sends what waits; how many were sent."""
        for experiment_id, state in self._store.reap():
            logger.warning("the worker of %s was lost; it is %s", experiment_id, state)
            if self._publish is not None and state in FINAL_STATES:
                self._publish(experiment_id, "state", {"state": state})
        sent = 0
        for waiting in self._store.unsent():
            try:
                self._send(waiting.id, waiting.attempt, waiting.priority)
            except BrokerDown as error:
                if not self._down:
                    logger.warning("the broker is down; what is queued waits: %s", error)
                self._down = True
                return sent
            self._down = False
            self._store.mark_sent(waiting.id, waiting.attempt)
            sent += 1
        return sent

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
