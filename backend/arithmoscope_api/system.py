"""``GET /api/system``: the whole server on one page, for the people who run it."""

from __future__ import annotations

from arithmoscope.contracts.system import SystemReport
from arithmoscope_api.context import Context
from arithmoscope_api.health import code_version

# As many of the latest as somebody will look at.
FAILURES = 20


def system_report(ctx: Context, *, broker: bool) -> SystemReport:
    """Refuses (``store_unavailable``) when the store cannot be read: there would be next to nothing to show."""
    return SystemReport(
        version=code_version(),
        started_at=ctx.started_at,
        broker="ok" if broker else "down",
        queue=ctx.store.queue_report(),
        workers=tuple(ctx.store.worker_reports()),
        store=ctx.store.store_report(),
        durations=tuple(ctx.store.durations()),
        failures=tuple(ctx.store.failures(FAILURES)),
        live_readers=ctx.live.readers,
        quota=ctx.config.quota,
    )
