"""The Celery application: two tasks, one child process, and the settings that were measured to lose nothing."""

from __future__ import annotations

import logging
import mmap
import warnings
from collections.abc import Callable
from typing import Any

import celery.apps.worker
from billiard.util import get_logger as get_pool_logger
from celery import Celery, signals
from celery.platforms import SecurityWarning

from arithmoscope.contracts.log_context import working_on
from arithmoscope.engine.models.catalogue import Catalogue
from arithmoscope.store import Store
from arithmoscope.store.dispatch import QUEUE, TASK_NAME, TRANSPORT_OPTIONS, VIEW_TASK, broker_url
from arithmoscope_worker.child import Child
from arithmoscope_worker.config import WorkerConfig
from arithmoscope_worker.engine_port import EnginePort, load_engine
from arithmoscope_worker.registration import register_models

__all__ = ["WorkerConfig", "make_app", "run"]

logger = logging.getLogger(__name__)

SETTINGS: dict[str, Any] = {
    # A message is acknowledged when the job has ended, and given to another worker when this one dies.
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_prefetch_multiplier": 1,
    # The database is the truth. A result backend makes a submit hang when Redis is down.
    "task_ignore_result": True,
    "result_backend": None,
    "task_serializer": "json",
    "accept_content": ["json"],
    "task_default_queue": QUEUE,
    "broker_transport_options": TRANSPORT_OPTIONS,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    # A job outlives a lost broker connection: its message comes again, and is dropped at the claim.
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "worker_soft_shutdown_timeout": 10,
    # The child imports torch while Celery waits to hear that it is up.
    "worker_proc_alive_timeout": 60,
    # Logging and the terminal are the front door's.
    "worker_hijack_root_logger": False,
    "worker_redirect_stdouts": False,
}


def make_app(
    redis_url: str, perform: Callable[[str, int], None], look: Callable[[str, str], None] = lambda *_: None
) -> Celery:
    """The application: ``perform(experiment id, attempt)`` runs an experiment, ``look(experiment id, name of a view)``
    adds to a finished one what somebody wants to see."""
    app = Celery("arithmoscope", broker=broker_url(redis_url), set_as_current=False)
    app.conf.update(SETTINGS)

    @app.task(name=TASK_NAME)
    def run_experiment(experiment_id: str, attempt: int) -> None:
        with working_on(experiment_id):
            perform(experiment_id, attempt)

    # Not given to another worker when this one dies: who still wants it asks again.
    @app.task(name=VIEW_TASK, acks_late=False)
    def add_view(experiment_id: str, view: str) -> None:
        with working_on(experiment_id):
            look(experiment_id, view)

    return app


def run(config: WorkerConfig, science: Callable[[WorkerConfig], EnginePort] = load_engine) -> int:
    """Works in this process and one child until told to stop (SIGTERM, SIGINT); the exit status.

    Refuses when the store cannot be opened. This process never imports torch. A running job is given back to the
    queue within moments of the signal, with all the chunks that it has finished.
    """
    with Store.open(config.database_url, config.artifacts_url) as store:
        register_models(store, Catalogue(config.models_dir, config.allow_hub))
    # One byte that parent and child share, without a lock that a killed child could keep.
    stop = mmap.mmap(-1, 1)
    child: list[Child] = []

    def perform(experiment_id: str, attempt: int) -> None:
        child[0].perform(experiment_id, attempt)

    def look(experiment_id: str, view: str) -> None:
        child[0].look(experiment_id, view)

    def begin(**_: object) -> None:
        child[:] = [Child(config, science, lambda: stop[0] != 0)]
        child[0].start()

    def leave(**_: object) -> None:
        child[0].stop()

    def tell(**_: object) -> None:
        stop[0] = 1

    _log_our_way()
    signals.worker_process_init.connect(begin, weak=False)
    signals.worker_process_shutdown.connect(leave, weak=False)
    signals.worker_shutting_down.connect(tell, weak=False)
    # Celery warns of root because of pickle; we take JSON only.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    worker = make_app(config.redis_url, perform, look).Worker(
        hostname=f"{config.name}@arithmoscope",
        pool="prefork",
        concurrency=1,
        loglevel=config.log_level,
        queues=[QUEUE],
        without_gossip=True,
        without_mingle=True,
        quiet=True,
    )
    worker.start()
    status = int(worker.exitcode or 0)
    logger.info("the worker ends with exit code %d", status)
    return status


def _log_our_way() -> None:
    """Lines with the experiment's id in the place of Celery's own, which know a message's number alone."""
    for told_by_us in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(told_by_us).setLevel(logging.WARNING)
    # It writes past the logging, in the middle of our lines, what `run` says in one of them.
    celery.apps.worker.safe_say = lambda *_: None  # pyright: ignore[reportAttributeAccessIssue]

    def no_other(loglevel: int, **_: object) -> None:
        # Somebody who sets the logging up is there, so Celery adds no handlers with a format of its own.
        logging.getLogger().setLevel(loglevel)
        # The pool's says which process died, and of what. Made here: whoever makes it cuts it off from the others.
        get_pool_logger().propagate = True

    def received(request: Any, **_: object) -> None:
        match list(request.args):
            case [str(experiment_id), int() | str() as which]:
                with working_on(experiment_id):
                    what = "attempt" if request.name == TASK_NAME else "the view"
                    logger.info("%s %s of %s has arrived", what, which, experiment_id)

    signals.setup_logging.connect(no_other, weak=False)
    signals.task_received.connect(received, weak=False)
