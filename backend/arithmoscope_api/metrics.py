"""Prometheus metrics (``/metrics``), computed at each scrape. Without the store, its metrics are left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.system import Duration, QueueReport, StoreReport, WorkerReport
from arithmoscope_api.context import Context
from arithmoscope_api.health import code_version

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class StoreMetrics:
    """Figures read from the store."""

    experiments: tuple[tuple[str, str, int], ...]
    queue: QueueReport
    storage: StoreReport
    workers: tuple[WorkerReport, ...]
    durations: tuple[Duration, ...]


def read_store_metrics(ctx: Context) -> StoreMetrics | None:
    """The store's figures; None if the store cannot be read."""
    try:
        return StoreMetrics(
            experiments=tuple(ctx.store.experiment_counts()),
            queue=ctx.store.queue_report(),
            storage=ctx.store.store_report(),
            workers=tuple(ctx.store.worker_reports()),
            durations=tuple(ctx.store.durations()),
        )
    except Refusal:
        return None


def exposition(ctx: Context, store: StoreMetrics | None, *, broker: bool) -> bytes:
    """All metrics in Prometheus's text format."""
    registry = CollectorRegistry()
    families = [*_server(ctx, broker=broker, store=store is not None), *(_store(store) if store else ())]
    registry.register(_Snapshot(families))
    ProcessCollector(registry=registry)
    return generate_latest(ctx.request_metrics.registry) + generate_latest(registry)


class _Snapshot(Collector):
    """A collector of metrics with fixed values."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = tuple(metrics)

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _server(ctx: Context, *, broker: bool, store: bool) -> Iterator[Metric]:
    yield InfoMetricFamily("arithmoscope_build", "The running version", value={"version": code_version()})
    up = GaugeMetricFamily("arithmoscope_up", "Whether a part responds", labels=["part"])
    up.add_metric(["broker"], float(broker))
    up.add_metric(["store"], float(store))
    yield up
    yield _gauge("live_readers", "Connected readers of live events", ctx.event_hub.readers)
    yield _gauge("live_experiments", "Experiments with at least one reader of live events", ctx.event_hub.watched)


def _store(metrics: StoreMetrics) -> Iterator[Metric]:
    counts = GaugeMetricFamily("arithmoscope_experiments", "Stored experiments", labels=["kind", "state"])
    for kind, state, n in metrics.experiments:
        counts.add_metric([kind, state], n)
    yield counts
    yield _gauge("experiments_deleted", "Deleted experiments that can still be restored", metrics.storage.deleted)
    yield _gauge("queue_depth", "Queued experiments", metrics.queue.waiting)
    yield _gauge(
        "queue_oldest_wait_seconds", "Waiting time of the oldest queued experiment", metrics.queue.oldest_wait_s or 0
    )
    workers = GaugeMetricFamily("arithmoscope_workers", "Workers with a recent heartbeat", labels=["state"])
    busy = sum(worker.busy for worker in metrics.workers)
    workers.add_metric(["busy"], busy)
    workers.add_metric(["idle"], len(metrics.workers) - busy)
    yield workers
    mean = GaugeMetricFamily(
        "arithmoscope_experiment_duration_seconds", "Moving average of the duration of a run", labels=["kind", "model"]
    )
    runs = GaugeMetricFamily(
        "arithmoscope_experiment_runs", "Number of runs in the average duration", labels=["kind", "model"]
    )
    for duration in metrics.durations:
        mean.add_metric([duration.kind, duration.model], duration.mean_s)
        runs.add_metric([duration.kind, duration.model], duration.n)
    yield mean
    yield runs
    yield _gauge(
        "artifact_bytes",
        "Size of all artifacts and of the saved batches of unfinished runs",
        metrics.storage.artifact_bytes,
    )
    if metrics.storage.budget_bytes is not None:
        yield _gauge("artifact_budget_bytes", "Disk quota of the artifacts", metrics.storage.budget_bytes)
    if metrics.storage.free_bytes is not None:
        yield _gauge("disk_free_bytes", "Free space on the disk of the artifacts", metrics.storage.free_bytes)


def _gauge(name: str, description: str, value: float) -> Metric:
    return GaugeMetricFamily(f"arithmoscope_{name}", description, value=value)
