"""Routes for the state of the server: health and system, liveness and readiness probes, metrics, and models."""

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
from arithmoscope_api.health import broker_is_up, health_report, health_without_store
from arithmoscope_api.http.problems import problem_responses
from arithmoscope_api.system import system_report

router = APIRouter(tags=["system"])

T = TypeVar("T")

# These routes respond in time even if the store hangs, without the parts that need it.
STORE_WITHIN_S = 3.0
_METRICS = {200: {"description": "Prometheus text format", "content": {"text/plain": {"schema": {"type": "string"}}}}}


@router.get("/api/health", responses=problem_responses(401, 403))
async def health(ctx: Ctx) -> Health:
    """Returns the state of store and broker, the workers seen in the last 20 seconds, and the counts of running and
    waiting experiments.

    The status is `degraded` if a part is down or there is no worker; the call itself still returns 200.
    """
    broker = await broker_is_up(ctx)
    return await _with_timeout(partial(health_report, ctx, broker=broker)) or health_without_store(broker=broker)


@router.get("/api/live")
async def live() -> dict[str, str]:
    """Liveness probe: 200 as long as this process responds, even if the store or the broker is down. Needs no token."""
    return {"status": "alive"}


@router.get("/api/ready", responses=problem_responses(503))
async def ready(ctx: Ctx) -> dict[str, str]:
    """Readiness probe: 200 if the store can be read, 503 if not. Needs no token."""
    if not await _with_timeout(ctx.store.is_up):
        raise Refusal("store_unavailable", "The store cannot be read.", "See the server's log.")
    return {"status": "ready"}


@router.get("/api/models", responses=problem_responses(401, 403, 503))
def models(ctx: Ctx) -> ModelList:
    """Returns all registered models. A model that cannot run here has `supported: false` and a `reason`."""
    return ModelList(items=tuple(ctx.store.models()))


@router.get("/api/system", responses=problem_responses(401, 403, 503))
async def system(ctx: Ctx) -> SystemReport:
    """Returns the data of the System page: queue, workers and their current work, sizes, durations, latest failures."""
    report = await _with_timeout(partial(system_report, ctx, broker=await broker_is_up(ctx)))
    if report is None:
        raise Refusal("store_unavailable", "The store does not respond.", "See the server's log.")
    return report


@router.get("/metrics", response_class=Response, responses={**_METRICS, **problem_responses(401, 403)})
async def metrics(ctx: Ctx) -> Response:
    """Returns Prometheus metrics. If the store or the broker is down, `arithmoscope_up` says so."""
    broker = await broker_is_up(ctx)
    store = await _with_timeout(partial(prometheus.read_store_metrics, ctx))
    body = prometheus.exposition(ctx, store, broker=broker)
    return Response(body, headers={"Content-Type": prometheus.MEDIA_TYPE, "Cache-Control": "no-store"})


async def _with_timeout(read: Callable[[], T]) -> T | None:
    """The result of a read; None if the store hangs, as a database does when its machine is gone."""
    with suppress(TimeoutError), fail_after(STORE_WITHIN_S):
        return await to_thread.run_sync(read, abandon_on_cancel=True)
    return None
