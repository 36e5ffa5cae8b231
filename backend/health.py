"""How the server is, asked of the parts themselves."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from backend.context import Context
from contracts.errors import Refusal
from contracts.system import Health, WorkerStatus


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
    workers: tuple[WorkerStatus, ...] = ()
    running = waiting = 0
    store = ctx.store.is_up()
    if store:
        try:
            workers = tuple(ctx.store.workers())
            running, waiting = ctx.store.counts()
        except Refusal:
            store = False
    return Health(
        status="ok" if store and broker and workers else "degraded",
        version=code_version(),
        broker="ok" if broker else "down",
        store="ok" if store else "down",
        workers=workers,
        running=running,
        waiting=waiting,
    )
