"""How the server is: for people (health, system), for whatever restarts it (live, ready), for Prometheus (metrics),
and what it can run (models)."""

from __future__ import annotations

from contextlib import suppress

from anyio import fail_after, to_thread
from fastapi import APIRouter
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from backend import metrics as prometheus
from backend.context import Ctx
from backend.health import broker_is_up, health_of
from backend.problems import documented
from backend.system import system_report
from contracts.errors import Refusal
from contracts.models import ModelList
from contracts.system import Health, SystemReport

router = APIRouter(tags=["system"])

# A scrape is answered in time also when the store hangs: without what the store would say.
STORE_WITHIN_S = 3.0
_TEXT = {200: {"description": "Prometheus's text format", "content": {"text/plain": {"schema": {"type": "string"}}}}}


@router.get("/api/health", responses=documented(401, 403))
async def health(ctx: Ctx) -> Health:
    """What works: store, broker, the workers seen in the last 20 seconds, and what they have to do."""
    return await run_in_threadpool(health_of, ctx, broker=await broker_is_up(ctx))


@router.get("/api/live")
async def live() -> dict[str, str]:
    """200 as long as this process answers at all, whatever else is down. Needs no token."""
    return {"status": "alive"}


@router.get("/api/ready", responses=documented(503))
def ready(ctx: Ctx) -> dict[str, str]:
    """200 when the store can be read, 503 when not. Needs no token."""
    if not ctx.store.is_up():
        raise Refusal("store_unavailable", "The store cannot be read.", "Look at the server's log.")
    return {"status": "ready"}


@router.get("/api/models", responses=documented(401, 403, 503))
def models(ctx: Ctx) -> ModelList:
    """The models that are known here; one that cannot run says why."""
    return ModelList(items=tuple(ctx.store.models()))


@router.get("/api/system", responses=documented(401, 403, 503))
async def system(ctx: Ctx) -> SystemReport:
    """What the System page shows: the queue, the workers and what each does, sizes, durations, failures."""
    return await run_in_threadpool(system_report, ctx, broker=await broker_is_up(ctx))


@router.get("/metrics", response_class=Response, responses={**_TEXT, **documented(401, 403)})
async def metrics(ctx: Ctx) -> Response:
    """For Prometheus. Answers also when the store or the broker is down, and says so."""
    broker = await broker_is_up(ctx)
    facts = None
    with suppress(TimeoutError), fail_after(STORE_WITHIN_S):
        facts = await to_thread.run_sync(prometheus.store_facts, ctx, abandon_on_cancel=True)
    body = prometheus.exposition(ctx, facts, broker=broker)
    return Response(body, headers={"Content-Type": prometheus.MEDIA_TYPE, "Cache-Control": "no-store"})
