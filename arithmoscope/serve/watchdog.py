"""The supervisor's store access, bounded in time: the watchdog of the worker, and calls in the background."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future

from arithmoscope.contracts.errors import Refusal
from arithmoscope.serve.processes import Child
from arithmoscope.store import Store
from arithmoscope.store.clock_watch import ClockWatch

_CHECK_EVERY_S = 2.0


class Watchdog:
    """Detects a worker that was heard of and has fallen silent: frozen, perhaps in the middle of a write.

    On SQLite no other process can write then. Not applied during the worker's start, nor after the clock was set.
    """

    def __init__(self, store: Store, name: str, worker: Child) -> None:
        self._store = store
        self._name = name
        self._worker = worker
        self._clock_watch = ClockWatch()
        self._heard_pid: int | None = None
        self._silent_pid: int | None = None
        self._stop = threading.Event()

    def start(self) -> None:
        """Checks in a separate thread until `stop`: the store may take long to answer."""
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def kill_if_frozen(self) -> str | None:
        """Kills a worker found silent, to be restarted as after any death; returns a line for the terminal."""
        if self._silent_pid is None or self._silent_pid != self._worker.pid:
            return None
        self._silent_pid = None
        self._worker.kill()
        return "The worker has sent no heartbeat for a long time: it is frozen and will be restarted."

    def check(self) -> None:
        """Checks once."""
        pid, settled = self._worker.pid, self._clock_watch.settled()
        if self._is_heard():
            self._heard_pid = pid
            return
        silent = settled and pid is not None and pid == self._heard_pid
        # A full disk would silence it, too: that is no reason to kill it.
        if (
            silent
            and self._store.can_record_heartbeat(self._name)
            and not self._is_heard()
            and self._clock_watch.settled()
        ):
            self._silent_pid = pid

    def _is_heard(self) -> bool:
        return any(worker.id == self._name for worker in self._store.workers())

    def _run(self) -> None:
        while not self._stop.wait(_CHECK_EVERY_S):
            try:
                self.check()
            except Refusal:  # without the store there are no heartbeats to read
                continue


class BackgroundCall:
    """Runs a function in a background thread and waits for a limited time; beyond it, it raises Refusal.

    A later call waits for the same run: the function never runs twice at once.
    """

    def __init__(self, function: Callable[[], None], timeout_s: float = 1.0) -> None:
        self._function = function
        self._timeout_s = timeout_s
        self._running: Future[None] | None = None

    def __call__(self) -> None:
        """Raises the function's exception, or Refusal while it is still running."""
        running = self._running
        if running is None:
            running = self._running = Future()
            threading.Thread(target=self._run, args=(running,), name="background-call", daemon=True).start()
        try:
            running.result(self._timeout_s)
        except TimeoutError:
            raise Refusal("store_unavailable", "The store has not answered yet.") from None
        finally:
            if running.done():
                self._running = None

    def _run(self, running: Future[None]) -> None:
        try:
            self._function()
        except Exception as error:  # noqa: BLE001  (re-raised in the caller by Future.result)
            running.set_exception(error)
        else:
            running.set_result(None)
