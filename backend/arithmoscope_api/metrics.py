"""``/metrics``: what Prometheus scrapes, computed at the scrape. A store that is down leaves out what it would say."""

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
class StoreFacts:
    """What the store says of itself."""

    experiments: tuple[tuple[str, str, int], ...]
    queue: QueueReport
    kept: StoreReport
    workers: tuple[WorkerReport, ...]
    durations: tuple[Duration, ...]


def store_facts(ctx: Context) -> StoreFacts | None:
    """None when the store does not answer."""
    try:
        return StoreFacts(
            experiments=tuple(ctx.store.experiment_counts()),
            queue=ctx.store.queue_report(),
            kept=ctx.store.store_report(),
            workers=tuple(ctx.store.worker_reports()),
            durations=tuple(ctx.store.durations()),
        )
    except Refusal:
        return None


def exposition(ctx: Context, facts: StoreFacts | None, *, broker: bool) -> bytes:
    """All metrics in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(_Now([*_server(ctx, broker=broker, store=facts is not None), *(_store(facts) if facts else ())]))
    ProcessCollector(registry=registry)
    return generate_latest(ctx.requests.registry) + generate_latest(registry)


class _Now(Collector):
    """What is known already, as a collector."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = tuple(metrics)

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _server(ctx: Context, *, broker: bool, store: bool) -> Iterator[Metric]:
    yield InfoMetricFamily("arithmoscope_build", "The version that runs", value={"version": code_version()})
    up = GaugeMetricFamily("arithmoscope_up", "Whether a part answers", labels=["part"])
    up.add_metric(["broker"], float(broker))
    up.add_metric(["store"], float(store))
    yield up
    yield _gauge("live_readers", "Readers of live events", ctx.live.readers)
    yield _gauge("live_experiments", "Experiments that somebody watches live", ctx.live.watched)


def _store(facts: StoreFacts) -> Iterator[Metric]:
    counts = GaugeMetricFamily("arithmoscope_experiments", "Experiments that are kept", labels=["kind", "state"])
    for kind, state, n in facts.experiments:
        counts.add_metric([kind, state], n)
    yield counts
    yield _gauge("experiments_deleted", "Experiments that can still be brought back", facts.kept.deleted)
    yield _gauge("queue_depth", "Experiments that wait", facts.queue.waiting)
    yield _gauge("queue_oldest_wait_seconds", "How long the first of them has waited", facts.queue.oldest_wait_s or 0)
    workers = GaugeMetricFamily("arithmoscope_workers", "Workers that were heard of lately", labels=["state"])
    busy = sum(worker.busy for worker in facts.workers)
    workers.add_metric(["busy"], busy)
    workers.add_metric(["idle"], len(facts.workers) - busy)
    yield workers
    mean = GaugeMetricFamily(
        "arithmoscope_experiment_duration_seconds", "Moving average of a run", labels=["kind", "model"]
    )
    runs = GaugeMetricFamily("arithmoscope_experiment_runs", "How many runs it is over", labels=["kind", "model"])
    for each in facts.durations:
        mean.add_metric([each.kind, each.model], each.mean_s)
        runs.add_metric([each.kind, each.model], each.n)
    yield mean
    yield runs
    yield _gauge("artifact_bytes", "Size of all results and saved chunks", facts.kept.artifact_bytes)
    if facts.kept.budget_bytes is not None:
        yield _gauge("artifact_budget_bytes", "What they may come to", facts.kept.budget_bytes)
    if facts.kept.free_bytes is not None:
        yield _gauge("disk_free_bytes", "Room on the disk that holds them", facts.kept.free_bytes)


def _gauge(name: str, said: str, value: float) -> Metric:
    return GaugeMetricFamily(f"arithmoscope_{name}", said, value=value)
