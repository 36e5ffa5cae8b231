"""The heartbeat: a thread that says that this worker lives, and keeps its hold on the experiment it works on."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.system import WorkerStatus
from arithmoscope.store import Claim, LeaseLost, Store

logger = logging.getLogger(__name__)

_TICK_S = 0.5
GRACE_S = 3.0


class HeldClaim:
    """A claim in work. ``lost``: it has gone to another worker, and nothing may be written any more."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.lost = False


class Heartbeat:
    """``status(busy)`` says what the worker is; ``leave`` ends this process at once.

    That is done when the parent process is gone, and when a job does not end within ``grace_s`` of the worker
    being told to stop (it loads a model, or writes its result): its hold is given back before.
    """

    def __init__(
        self,
        store: Store,
        status: Callable[[bool], WorkerStatus],
        *,
        lease_s: float,
        heartbeat_s: float,
        stop_requested: Callable[[], bool],
        leave: Callable[[str], None],
        grace_s: float = GRACE_S,
    ) -> None:
        self._store = store
        self._status = status
        self._lease_s = lease_s
        self._beat_s = heartbeat_s
        self._told_to_stop = stop_requested
        self._told_at: float | None = None
        self._leave = leave
        self._grace_s = grace_s
        self._parent = os.getppid()
        self._hold: HeldClaim | None = None
        self._now = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._now.set()
        self._thread.join(timeout=5.0)

    @contextmanager
    def holding(self, claim: Claim) -> Iterator[HeldClaim]:
        """Renews the claim's lease as long as the block runs."""
        hold = self._hold = HeldClaim(claim)
        self._now.set()
        try:
            yield hold
        finally:
            self._hold = None
            self._now.set()

    def beat(self) -> None:
        """One heartbeat. A store that does not answer now may answer the next one."""
        hold = self._hold
        if hold is not None:
            try:
                self._store.renew(hold.claim, self._lease_s)
            except LeaseLost:
                hold.lost = True
            except Refusal as error:
                logger.warning("the lease is not renewed: %s", error)
        with suppress(Refusal):
            self._store.record_heartbeat(self._status(hold is not None))

    def _run(self) -> None:
        last = float("-inf")
        while not self._stopping:
            if os.getppid() != self._parent:
                self._leave("the parent process is gone")
            self._hurry()
            if self._now.is_set() or time.monotonic() - last >= self._beat_s:
                self._now.clear()
                last = time.monotonic()
                try:
                    self.beat()
                except Exception:  # a heart that stops would cost the job its lease
                    logger.exception("a heartbeat failed; the next may not")
            self._now.wait(min(_TICK_S, self._beat_s))

    def _hurry(self) -> None:
        hold = self._hold
        if hold is None or not self._told_to_stop():
            return
        now = time.monotonic()
        if self._told_at is None:
            self._told_at = now
        if now - self._told_at >= self._grace_s:
            with suppress(LeaseLost, Refusal):
                self._store.release(hold.claim)
            self._leave(f"told to stop, and {hold.claim.id} did not end")
