"""How the server is: for people (health), for whatever restarts it (ready), and what it can run (models)."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from backend.context import Ctx
from backend.health import broker_is_up, health_of
from backend.problems import documented
from contracts.errors import Refusal
from contracts.models import ModelList
from contracts.system import Health

router = APIRouter(prefix="/api", tags=["system"])


@router.get("/health", responses=documented(401, 403))
async def health(ctx: Ctx) -> Health:
    """What works: store, broker, the workers seen in the last 20 seconds, and what they have to do."""
    return await run_in_threadpool(health_of, ctx, broker=await broker_is_up(ctx))


@router.get("/ready", responses=documented(503))
def ready(ctx: Ctx) -> dict[str, str]:
    """200 when the store can be read, 503 when not. Needs no token."""
    if not ctx.store.is_up():
        raise Refusal("store_unavailable", "The store cannot be read.", "Look at the server's log.")
    return {"status": "ready"}


@router.get("/models", responses=documented(401, 403, 503))
def models(ctx: Ctx) -> ModelList:
    """The models that are known here; one that cannot run says why."""
    return ModelList(items=tuple(ctx.store.models()))
