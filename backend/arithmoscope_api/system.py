"""The report of ``GET /api/system``: the state of the whole server, for its operators."""

from __future__ import annotations

from arithmoscope.contracts.system import SystemReport
from arithmoscope_api.context import Context
from arithmoscope_api.health import code_version

# The latest failures listed.
MAX_FAILURES = 20


def system_report(ctx: Context, *, broker: bool) -> SystemReport:
    """The state of queue, workers, store and broker.

    Raises:
        Refusal: The store cannot be read (``store_unavailable``); without it there is almost nothing to report.
    """
    return SystemReport(
        version=code_version(),
        started_at=ctx.started_at,
        broker="ok" if broker else "down",
        queue=ctx.store.queue_report(),
        workers=tuple(ctx.store.worker_reports()),
        store=ctx.store.store_report(),
        durations=tuple(ctx.store.durations()),
        failures=tuple(ctx.store.failures(MAX_FAILURES)),
        live_readers=ctx.event_hub.readers,
        quota=ctx.config.quota,
    )
