"""Health of the server, checked on its parts."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.system import Health, WorkerStatus
from arithmoscope_api.context import Context


def code_version() -> str:
    """The installed version of Arithmoscope."""
    try:
        return version("arithmoscope")
    except PackageNotFoundError:
        return "unknown"


async def broker_is_up(ctx: Context) -> bool:
    """True if the broker responds."""
    return ctx.event_reader is not None and await ctx.event_reader.is_up()


def health_report(ctx: Context, *, broker: bool) -> Health:
    """The health of the server.

    ``degraded``: results may be readable, but new experiments wait for a worker, the broker or the store.
    """
    try:
        if ctx.store.is_up():
            running, waiting = ctx.store.counts()
            return _health(broker=broker, store=True, workers=tuple(ctx.store.workers()), counts=(running, waiting))
    except Refusal:
        pass
    return health_without_store(broker=broker)


def health_without_store(*, broker: bool) -> Health:
    """The health of a server whose store does not respond."""
    return _health(broker=broker, store=False, workers=(), counts=(0, 0))


def _health(*, broker: bool, store: bool, workers: tuple[WorkerStatus, ...], counts: tuple[int, int]) -> Health:
    return Health(
        status="ok" if store and broker and workers else "degraded",
        version=code_version(),
        broker="ok" if broker else "down",
        store="ok" if store else "down",
        workers=workers,
        running=counts[0],
        waiting=counts[1],
    )
