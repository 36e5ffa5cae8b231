"""How the server is, asked of the parts themselves."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.system import Health, WorkerStatus
from arithmoscope_api.context import Context


def code_version() -> str:
    """The installed version of this program."""
    try:
        return version("arithmoscope")
    except PackageNotFoundError:
        return "unknown"


async def broker_is_up(ctx: Context) -> bool:
    """Whether the broker answers."""
    return ctx.events is not None and await ctx.events.is_up()


def health_of(ctx: Context, *, broker: bool) -> Health:
    """``degraded``: results are readable, but new runs will wait for a worker, the broker or the store."""
    try:
        if ctx.store.is_up():
            running, waiting = ctx.store.counts()
            return _health(broker=broker, store=True, workers=tuple(ctx.store.workers()), counts=(running, waiting))
    except Refusal:
        pass
    return without_store(broker=broker)


def without_store(*, broker: bool) -> Health:
    """What can be said while the store does not answer."""
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
