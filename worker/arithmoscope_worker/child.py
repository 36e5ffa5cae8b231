"""The process that computes: it alone imports torch and holds the models.

It gets ready in a thread of its own, so that Celery finds it alive at once. A job can be claimed as soon as the
store is open, and waits for the engine and its model as part of its progress.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.system import WorkerStatus
from arithmoscope.engine.models.catalogue import Catalogue
from arithmoscope.engine.models.folders import DEMO_ID
from arithmoscope.store import EventLog, Store
from arithmoscope_worker.compute_view import add_view
from arithmoscope_worker.config import WorkerConfig
from arithmoscope_worker.engine_port import EnginePort
from arithmoscope_worker.heartbeat import Heartbeat
from arithmoscope_worker.job import JobRunner
from arithmoscope_worker.registration import ModelRegistrar, read_chat
from arithmoscope_worker.runtime import Runtime

logger = logging.getLogger(__name__)

_AGAIN_S = 2.0
# A model that was copied in is on the page after two looks that find it the same.
_LOOK_FOR_MODELS_S = 2.5


class Child:
    """One per process. ``stop_requested`` is what the parent process says."""

    def __init__(
        self,
        config: WorkerConfig,
        science: Callable[[WorkerConfig], EnginePort],
        stop_requested: Callable[[], bool],
    ) -> None:
        self._config = config
        self._told_to_stop = stop_requested
        self._workshop = Runtime(lambda: science(config), room=config.models_in_memory)
        self._catalogue = Catalogue(config.models_dir, config.allow_hub)
        self._open: tuple[Store, Heartbeat, JobRunner] | None = None
        self._opened = threading.Event()
        self._leaving = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._get_ready, name="get-ready", daemon=True).start()

    def perform(self, experiment_id: str, attempt: int) -> None:
        """The task. A worker that is stopped before it is open drops it: the row waits, and is sent again."""
        if self._is_open() and self._open is not None:
            self._open[2].perform(experiment_id, attempt)

    def look(self, experiment_id: str, view: str) -> None:
        """The other task: adds what somebody wants to see to a finished experiment."""
        if self._is_open() and self._open is not None:
            add_view(self._open[0], self._workshop, experiment_id, view)

    def _is_open(self) -> bool:
        while not self._opened.wait(0.1):
            if self._told_to_stop():
                return False
        return True

    def stop(self) -> None:
        """Signs off, so that nobody counts on this worker."""
        self._leaving.set()
        if self._open is None:
            return
        store, heart, _ = self._open
        heart.stop()
        try:
            store.remove_worker(self._config.name)
        except Refusal as error:
            logger.warning("the worker is not signed off: %s", error)
        store.close()

    def _get_ready(self) -> None:
        try:
            store = self._store()
            if store is not None:
                self._begin(store)
        except Exception:  # without a heart it would take jobs and never begin them
            logger.exception("the worker cannot begin")
            if not self._leaving.wait(_AGAIN_S):
                _leave("the next process may fare better")

    def _begin(self, store: Store) -> None:
        heart = Heartbeat(
            store,
            self._status,
            lease_s=self._config.lease_s,
            heartbeat_s=self._config.heartbeat_s,
            stop_requested=self._told_to_stop,
            leave=_leave,
        )
        registrar = ModelRegistrar(store, self._catalogue)
        jobs = JobRunner(
            store=store,
            events=EventLog(self._config.redis_url),
            runtime=self._workshop,
            heart=heart,
            owner=self._config.name,
            lease_s=self._config.lease_s,
            stop_requested=self._told_to_stop,
            refresh=registrar.refresh,
        )
        self._open = store, heart, jobs
        heart.start()
        self._opened.set()
        threading.Thread(target=self._watch_models, args=(registrar,), name="models", daemon=True).start()
        self._warm_up()

    def _store(self) -> Store | None:
        while not self._leaving.is_set():
            with ExitStack() as opened:
                try:
                    store = opened.enter_context(Store.open(self._config.database_url, self._config.artifacts_url))
                    # Whoever held these under this worker's name was the process before this one, and is dead.
                    store.reap(owner=self._config.name)
                    opened.pop_all()
                    return store
                except Refusal as error:
                    logger.warning("the store is not there yet: %s", error)
            self._leaving.wait(_AGAIN_S)
        return None

    def _warm_up(self) -> None:
        """The first job is most often on the demo model: have it in memory before it is asked for."""
        try:
            demo = self._catalogue.card(DEMO_ID)
            if demo.supported:
                self._workshop.model(demo, read_chat(self._catalogue, demo.id))
        except Exception:  # the job that needs it will say what is wrong
            logger.exception("the worker is not warm; the first job will take longer")

    def _watch_models(self, registrar: ModelRegistrar) -> None:
        while not self._leaving.is_set():
            try:
                registrar.look()
            except Exception:  # whatever a folder holds, the next look may find another
                if self._leaving.is_set():
                    return
                logger.exception("the models are not looked at")
            self._leaving.wait(_LOOK_FOR_MODELS_S)

    def _status(self, busy: bool) -> WorkerStatus:
        return WorkerStatus(
            id=self._config.name, device=self._workshop.device, models=self._workshop.models(), busy=busy
        )


def _leave(why: str) -> None:
    # Not an orderly end: the main thread may be deep in a computation that nothing can interrupt.
    logger.warning("leaving at once: %s", why)
    os.kill(os.getpid(), signal.SIGKILL)
