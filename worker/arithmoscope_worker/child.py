"""The child process that computes: only it imports torch and holds the models.

It starts up in a separate thread, so that Celery sees it alive immediately. A job can be claimed as soon as the store
is open; loading the engine and the model is part of its progress.
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
from arithmoscope.engine.models.folders import ADDER_ID, DEMO_ID
from arithmoscope.store import EventLog, Store
from arithmoscope_worker.compute_view import add_view
from arithmoscope_worker.config import WorkerConfig
from arithmoscope_worker.engine_port import EnginePort
from arithmoscope_worker.heartbeat import Heartbeat
from arithmoscope_worker.job import JobRunner
from arithmoscope_worker.registration import ModelRegistrar, read_chat
from arithmoscope_worker.runtime import Runtime

logger = logging.getLogger(__name__)

_RETRY_S = 2.0
# A model copied into the folder appears on the page after two polls that find it unchanged.
_POLL_MODELS_S = 2.5


class Child:
    """The state of the child process. ``stop_requested`` is the parent's signal."""

    def __init__(
        self,
        config: WorkerConfig,
        make_engine: Callable[[WorkerConfig], EnginePort],
        stop_requested: Callable[[], bool],
    ) -> None:
        self._config = config
        self._stop_requested = stop_requested
        self._runtime = Runtime(lambda: make_engine(config), max_models=config.models_in_memory)
        self._catalogue = Catalogue(config.models_dir, config.allow_hub)
        self._open: tuple[Store, Heartbeat, JobRunner] | None = None
        self._opened = threading.Event()
        self._stopping = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._start_up, name="start-up", daemon=True).start()

    def run_job(self, experiment_id: str, attempt: int) -> None:
        """Runs a queued attempt. A worker stopped during startup drops it: the row stays queued and is sent again."""
        if self._wait_until_open() and self._open is not None:
            self._open[2].run(experiment_id, attempt)

    def compute_view(self, experiment_id: str, view: str) -> None:
        """Adds a view to a finished experiment."""
        if self._wait_until_open() and self._open is not None:
            add_view(self._open[0], self._runtime, experiment_id, view)

    def _wait_until_open(self) -> bool:
        while not self._opened.wait(0.1):
            if self._stop_requested():
                return False
        return True

    def stop(self) -> None:
        """Removes this worker from the registry and closes the store."""
        self._stopping.set()
        if self._open is None:
            return
        store, heartbeat, _ = self._open
        heartbeat.stop()
        try:
            store.remove_worker(self._config.name)
        except Refusal as error:
            logger.warning("the worker was not removed from the registry: %s", error)
        store.close()

    def _start_up(self) -> None:
        try:
            store = self._open_store()
            if store is not None:
                self._open_for_jobs(store)
        except Exception:  # without a heartbeat it would accept jobs and never run them
            logger.exception("the worker failed to start")
            if not self._stopping.wait(_RETRY_S):
                _exit_now("a new process is started")

    def _open_for_jobs(self, store: Store) -> None:
        heartbeat = Heartbeat(
            store,
            self._status,
            lease_s=self._config.lease_s,
            heartbeat_s=self._config.heartbeat_s,
            stop_requested=self._stop_requested,
            exit_now=_exit_now,
        )
        registrar = ModelRegistrar(store, self._catalogue)
        jobs = JobRunner(
            store=store,
            events=EventLog(self._config.redis_url),
            runtime=self._runtime,
            heartbeat=heartbeat,
            owner=self._config.name,
            lease_s=self._config.lease_s,
            stop_requested=self._stop_requested,
            refresh=registrar.refresh,
        )
        self._open = store, heartbeat, jobs
        heartbeat.start()
        self._opened.set()
        threading.Thread(target=self._watch_models, args=(registrar,), name="models", daemon=True).start()
        self._warm_up()

    def _open_store(self) -> Store | None:
        while not self._stopping.is_set():
            with ExitStack() as opened:
                try:
                    store = opened.enter_context(Store.open(self._config.database_url, self._config.artifacts_url))
                    # Leases under this worker's name belong to its previous process, which is dead.
                    store.reap(owner=self._config.name)
                    opened.pop_all()
                    return store
                except Refusal as error:
                    logger.warning("the store is not available yet: %s", error)
            self._stopping.wait(_RETRY_S)
        return None

    def _warm_up(self) -> None:
        """Loads the demo model, or without it the bundled one: the first job usually needs it."""
        try:
            cards = (self._catalogue.card(model_id) for model_id in (DEMO_ID, ADDER_ID))
            if (usual := next((card for card in cards if card.supported), None)) is not None:
                self._runtime.model(usual, read_chat(self._catalogue, usual.id))
        except Exception:  # the job that needs it reports the error
            logger.exception("no model was preloaded; the first job will take longer")

    def _watch_models(self, registrar: ModelRegistrar) -> None:
        while not self._stopping.is_set():
            try:
                registrar.poll()
            except Exception:  # a broken folder may be repaired by the next poll
                if self._stopping.is_set():
                    return
                logger.exception("the models were not polled")
            self._stopping.wait(_POLL_MODELS_S)

    def _status(self, busy: bool) -> WorkerStatus:
        return WorkerStatus(id=self._config.name, device=self._runtime.device, models=self._runtime.models(), busy=busy)


def _exit_now(reason: str) -> None:
    # Not an orderly shutdown: the main thread may be inside a computation that cannot be interrupted.
    logger.warning("exiting at once: %s", reason)
    os.kill(os.getpid(), signal.SIGKILL)
