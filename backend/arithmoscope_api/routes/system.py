"""How the server is: for people (health, system), for whatever restarts it (live, ready), for Prometheus (metrics),
and what it can run (models)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from anyio import fail_after, to_thread
from fastapi import APIRouter
from fastapi.responses import Response

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.models import ModelList
from arithmoscope.contracts.system import Health, SystemReport
from arithmoscope_api import metrics as prometheus
from arithmoscope_api.context import Ctx
from arithmoscope_api.health import broker_is_up, health_of, without_store
from arithmoscope_api.http.problems import documented
from arithmoscope_api.system import system_report

router = APIRouter(tags=["system"])

T = TypeVar("T")

# Who asks how the server is gets an answer in time also when the store hangs: without what it would say.
STORE_WITHIN_S = 3.0
_TEXT = {200: {"description": "Prometheus's text format", "content": {"text/plain": {"schema": {"type": "string"}}}}}


@router.get("/api/health", responses=documented(401, 403))
async def health(ctx: Ctx) -> Health:
    """What works: store, broker, the workers seen in the last 20 seconds, and what they have to do."""
    broker = await broker_is_up(ctx)
    return await _in_time(partial(health_of, ctx, broker=broker)) or without_store(broker=broker)


@router.get("/api/live")
async def live() -> dict[str, str]:
    """200 as long as this process answers at all, whatever else is down. Needs no token."""
    return {"status": "alive"}


@router.get("/api/ready", responses=documented(503))
async def ready(ctx: Ctx) -> dict[str, str]:
    """200 when the store can be read, 503 when not. Needs no token."""
    if not await _in_time(ctx.store.is_up):
        raise Refusal("store_unavailable", "The store cannot be read.", "Look at the server's log.")
    return {"status": "ready"}


@router.get("/api/models", responses=documented(401, 403, 503))
def models(ctx: Ctx) -> ModelList:
    """The models that are known here; one that cannot run says why."""
    return ModelList(items=tuple(ctx.store.models()))


@router.get("/api/system", responses=documented(401, 403, 503))
async def system(ctx: Ctx) -> SystemReport:
    """What the System page shows: the queue, the workers and what each does, sizes, durations, failures."""
    report = await _in_time(partial(system_report, ctx, broker=await broker_is_up(ctx)))
    if report is None:
        raise Refusal("store_unavailable", "The store does not answer.", "Look at the server's log.")
    return report


@router.get("/metrics", response_class=Response, responses={**_TEXT, **documented(401, 403)})
async def metrics(ctx: Ctx) -> Response:
    """For Prometheus. Answers also when the store or the broker is down, and says so."""
    broker = await broker_is_up(ctx)
    facts = await _in_time(partial(prometheus.store_facts, ctx))
    body = prometheus.exposition(ctx, facts, broker=broker)
    return Response(body, headers={"Content-Type": prometheus.MEDIA_TYPE, "Cache-Control": "no-store"})


async def _in_time(ask: Callable[[], T]) -> T | None:
    """What the store says; None when it hangs, as a database does whose machine is gone."""
    with suppress(TimeoutError), fail_after(STORE_WITHIN_S):
        return await to_thread.run_sync(ask, abandon_on_cancel=True)
    return None
