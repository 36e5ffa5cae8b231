"""The Celery application: two tasks, one child process, and settings tested not to lose a job."""

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
    # A message is acknowledged after the job has ended, and redelivered to another worker if this one dies.
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_prefetch_multiplier": 1,
    # The database is the source of truth. A result backend makes submissions hang when Redis is down.
    "task_ignore_result": True,
    "result_backend": None,
    "task_serializer": "json",
    "accept_content": ["json"],
    "task_default_queue": QUEUE,
    "broker_transport_options": TRANSPORT_OPTIONS,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    # A job survives a lost broker connection: its message is redelivered, and dropped at the claim.
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "worker_soft_shutdown_timeout": 10,
    # The child imports torch while Celery waits for it to come up.
    "worker_proc_alive_timeout": 60,
    # The command line configures logging and the terminal.
    "worker_hijack_root_logger": False,
    "worker_redirect_stdouts": False,
}


def make_app(
    redis_url: str, run_job: Callable[[str, int], None], compute_view: Callable[[str, str], None] = lambda *_: None
) -> Celery:
    """Creates the application.

    ``run_job(experiment id, attempt)`` runs an experiment; ``compute_view(experiment id, view name)`` adds a view to a
    finished one.
    """
    app = Celery("arithmoscope", broker=broker_url(redis_url), set_as_current=False)
    app.conf.update(SETTINGS)

    @app.task(name=TASK_NAME)
    def run_experiment(experiment_id: str, attempt: int) -> None:
        with working_on(experiment_id):
            run_job(experiment_id, attempt)

    # Not redelivered if this worker dies: a client that still needs the view requests it again.
    @app.task(name=VIEW_TASK, acks_late=False)
    def add_view(experiment_id: str, view: str) -> None:
        with working_on(experiment_id):
            compute_view(experiment_id, view)

    return app


def run(config: WorkerConfig, make_engine: Callable[[WorkerConfig], EnginePort] = load_engine) -> int:
    """Runs a worker, in this process and one child, until SIGTERM or SIGINT; returns the exit status.

    Raises Refusal if the store cannot be opened. This process never imports torch. A running job is requeued within
    moments of the signal, with all chunks that it has finished.
    """
    with Store.open(config.database_url, config.artifacts_url) as store:
        register_models(store, Catalogue(config.models_dir, config.allow_hub))
    # One byte shared by parent and child, without a lock that a killed child could leave locked.
    stop = mmap.mmap(-1, 1)
    child: list[Child] = []

    def run_job(experiment_id: str, attempt: int) -> None:
        child[0].run_job(experiment_id, attempt)

    def compute_view(experiment_id: str, view: str) -> None:
        child[0].compute_view(experiment_id, view)

    def start_child(**_: object) -> None:
        child[:] = [Child(config, make_engine, lambda: stop[0] != 0)]
        child[0].start()

    def stop_child(**_: object) -> None:
        child[0].stop()

    def request_stop(**_: object) -> None:
        stop[0] = 1

    _configure_logging()
    signals.worker_process_init.connect(start_child, weak=False)
    signals.worker_process_shutdown.connect(stop_child, weak=False)
    signals.worker_shutting_down.connect(request_stop, weak=False)
    # Celery warns about running as root because of pickle; only JSON is accepted here.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    worker = make_app(config.redis_url, run_job, compute_view).Worker(
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


def _configure_logging() -> None:
    """Replaces Celery's log lines, which have only a message id, by lines with the experiment's id."""
    for replaced in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(replaced).setLevel(logging.WARNING)
    # Celery writes this past the logging, in the middle of our lines; `run` logs the same.
    celery.apps.worker.safe_say = lambda *_: None  # pyright: ignore[reportAttributeAccessIssue]

    def set_level(loglevel: int, **_: object) -> None:
        # A receiver of setup_logging exists, so Celery adds no handlers with its own format.
        logging.getLogger().setLevel(loglevel)
        # The pool's logger reports which process died, and why. `get_pool_logger` creates it without propagation.
        get_pool_logger().propagate = True

    def received(request: Any, **_: object) -> None:
        match list(request.args):
            case [str(experiment_id), int() | str() as which]:
                with working_on(experiment_id):
                    kind = "attempt" if request.name == TASK_NAME else "view"
                    logger.info("received %s %s of %s", kind, which, experiment_id)

    signals.setup_logging.connect(set_level, weak=False)
    signals.task_received.connect(received, weak=False)
