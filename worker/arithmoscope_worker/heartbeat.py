"""The heartbeat: a thread that reports this worker as alive and renews the lease of its current experiment."""

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
    """A claim that is being worked on. ``lost``: another worker has it now, and nothing may be written any more."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.lost = False


class Heartbeat:
    """Reports ``status(busy)`` and renews the lease; ``exit_now`` ends this process immediately.

    The process exits if its parent is gone, and if a job does not end within ``grace_s`` of a stop request (it may be
    loading a model or writing its result); its claim is released before.
    """

    def __init__(
        self,
        store: Store,
        status: Callable[[bool], WorkerStatus],
        *,
        lease_s: float,
        heartbeat_s: float,
        stop_requested: Callable[[], bool],
        exit_now: Callable[[str], None],
        grace_s: float = GRACE_S,
    ) -> None:
        self._store = store
        self._status = status
        self._lease_s = lease_s
        self._heartbeat_s = heartbeat_s
        self._stop_requested = stop_requested
        self._stop_requested_at: float | None = None
        self._exit_now = exit_now
        self._grace_s = grace_s
        self._parent = os.getppid()
        self._held: HeldClaim | None = None
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout=5.0)

    @contextmanager
    def holding(self, claim: Claim) -> Iterator[HeldClaim]:
        """Renews the claim's lease as long as the block runs."""
        held = self._held = HeldClaim(claim)
        self._wake.set()
        try:
            yield held
        finally:
            self._held = None
            self._wake.set()

    def beat(self) -> None:
        """Sends one heartbeat. If the store does not answer, the next one may succeed."""
        held = self._held
        if held is not None:
            try:
                self._store.renew(held.claim, self._lease_s)
            except LeaseLost:
                held.lost = True
            except Refusal as error:
                logger.warning("the lease was not renewed: %s", error)
        with suppress(Refusal):
            self._store.record_heartbeat(self._status(held is not None))

    def _run(self) -> None:
        last = float("-inf")
        while not self._stopping:
            if os.getppid() != self._parent:
                self._exit_now("the parent process is gone")
            self._enforce_stop()
            if self._wake.is_set() or time.monotonic() - last >= self._heartbeat_s:
                self._wake.clear()
                last = time.monotonic()
                try:
                    self.beat()
                except Exception:  # if the heartbeat stopped, the job would lose its lease
                    logger.exception("a heartbeat failed; the next one may succeed")
            self._wake.wait(min(_TICK_S, self._heartbeat_s))

    def _enforce_stop(self) -> None:
        held = self._held
        if held is None or not self._stop_requested():
            return
        now = time.monotonic()
        if self._stop_requested_at is None:
            self._stop_requested_at = now
        if now - self._stop_requested_at >= self._grace_s:
            with suppress(LeaseLost, Refusal):
                self._store.release(held.claim)
            self._exit_now(f"a stop was requested, and {held.claim.id} did not end")
