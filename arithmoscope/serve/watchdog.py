"""What the supervisor asks of the store, which may keep it waiting: whether the worker still lives, and to let go
of what a dead one held."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future

from arithmoscope.contracts.errors import Refusal
from arithmoscope.serve.processes import Child
from arithmoscope.store import Store
from arithmoscope.store.clock_watch import ClockWatch

_LOOK_EVERY_S = 2.0


class Watchdog:
    """Finds a worker that was heard of and says nothing any more: frozen, perhaps in the middle of a write.

    On SQLite nobody else can write then until it goes on or dies. Not while it starts, nor when the clock was set.
    """

    def __init__(self, store: Store, name: str, worker: Child) -> None:
        self._store = store
        self._name = name
        self._worker = worker
        self._clock_watch = ClockWatch()
        self._heard: int | None = None
        self._silent: int | None = None
        self._stop = threading.Event()

    def start(self) -> None:
        """Looks from a thread of its own, until `stop`: the store may take long to answer."""
        threading.Thread(target=self._run, name="silence", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def kill_if_frozen(self) -> str | None:
        """Kills the worker that was found silent, to be replaced as after any death; then a line for people."""
        if self._silent is None or self._silent != self._worker.pid:
            return None
        self._silent = None
        self._worker.kill()
        return "The worker has said nothing for long: it is frozen, and is replaced."

    def look(self) -> None:
        """Once."""
        pid, settled = self._worker.pid, self._clock_watch.settled()
        if self._hears():
            self._heard = pid
            return
        silent = settled and pid is not None and pid == self._heard
        # A full disk would have kept it from being heard, too: that is no reason to end it.
        if (
            silent
            and self._store.can_record_heartbeat(self._name)
            and not self._hears()
            and self._clock_watch.settled()
        ):
            self._silent = pid

    def _hears(self) -> bool:
        return any(each.id == self._name for each in self._store.workers())

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_EVERY_S):
            try:
                self.look()
            except Refusal:  # without a store nobody can be heard
                continue


class BackgroundCall:
    """Does one thing in a thread of its own, and is waited for only so long: then it refuses, and may be asked again.

    It is never done twice at once.
    """

    def __init__(self, act: Callable[[], None], within_s: float = 1.0) -> None:
        self._act = act
        self._within_s = within_s
        self._doing: Future[None] | None = None

    def __call__(self) -> None:
        """Raises what it raised, and `Refusal` while it is not done."""
        doing = self._doing
        if doing is None:
            doing = self._doing = Future()
            threading.Thread(target=self._do, args=(doing,), name="aside", daemon=True).start()
        try:
            doing.result(self._within_s)
        except TimeoutError:
            raise Refusal("store_unavailable", "The store has not answered yet.") from None
        finally:
            if doing.done():
                self._doing = None

    def _do(self, doing: Future[None]) -> None:
        try:
            self._act()
        except Exception as error:  # noqa: BLE001  (nothing is swallowed: whoever asked gets it)
            doing.set_exception(error)
        else:
            doing.set_result(None)
