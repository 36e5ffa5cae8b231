"""What a worker computes of a finished analysis when somebody looks: once, then it is stored."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response

from arithmoscope.contracts.base import Wire
from arithmoscope.contracts.results import AttentionPattern
from arithmoscope.contracts.specs import ComponentName
from arithmoscope.contracts.views import KeyReport, LensReport, RoleReport, StagesReport, WritesReport
from arithmoscope.store.views import View
from arithmoscope_api.context import Ctx
from arithmoscope_api.http.problems import documented
from arithmoscope_api.routes.artifacts import UNCHANGING
from arithmoscope_api.routes.experiments import ExperimentId

router = APIRouter(prefix="/api/experiments/{experiment_id}", tags=["views"])

_Prompt = Annotated[int, Query(description="Counts in the list that was asked for, from 0")]


def _looked_at(model: type[Wire], what: str, *refused: int) -> dict[int | str, dict[str, Any]]:
    return {
        200: {"model": model, "description": what},
        202: {"description": "Not stored: a worker computes it; ask again after `Retry-After` seconds"},
        **documented(401, 403, 404, 409, *refused, 503),
    }


@router.get(
    "/attention",
    response_class=Response,
    responses=_looked_at(AttentionPattern, "One layer of one prompt", 422),
)
def attention(
    experiment_id: ExperimentId,
    ctx: Ctx,
    layer: Annotated[int, Query(description="From 0")],
    prompt: _Prompt,
) -> Response:
    """The reference run's attention: ``weights`` is [head][query][key], every row of it sums to 1."""
    return _answer(ctx.views.attention(experiment_id, layer, prompt))


@router.get("/key", response_class=Response, responses=_looked_at(KeyReport, "Which components are key"))
def key(experiment_id: ExperimentId, ctx: Ctx) -> Response:
    """Which components are key by false discovery rate and by the paper's threshold, for every metric computed."""
    return _answer(ctx.views.report(experiment_id, View("key")))


@router.get("/roles", response_class=Response, responses=_looked_at(RoleReport, "Where every head looks"))
def roles(experiment_id: ExperimentId, ctx: Ctx) -> Response:
    """Where every head looks from END, by role, over the first 256 kept prompts, beside its baselines."""
    return _answer(ctx.views.report(experiment_id, View("roles")))


@router.get("/lens", response_class=Response, responses=_looked_at(LensReport, "One prompt, layer by layer", 422))
def lens(experiment_id: ExperimentId, ctx: Ctx, prompt: _Prompt) -> Response:
    """What the stream at END says after each layer of the reference run, the embedding first."""
    # A number that no list has is refused as such: it never becomes a name.
    return _answer(ctx.views.report(experiment_id, View("lens", str(prompt))))


@router.get("/stages", response_class=Response, responses=_looked_at(StagesReport, "How the answer comes up"))
def stages(experiment_id: ExperimentId, ctx: Ctx) -> Response:
    """The answer's probability and rank by layer, the two cosine curves, and where they start, turn and end, over the
    first 256 kept prompts."""
    return _answer(ctx.views.report(experiment_id, View("stages")))


@router.get("/writes", response_class=Response, responses=_looked_at(WritesReport, "What a component writes", 422))
def writes(
    experiment_id: ExperimentId,
    ctx: Ctx,
    component: Annotated[ComponentName, Query(description="`L14H2` is a head, `MLP19` an MLP")],
) -> Response:
    """The number tokens that a component promotes and suppresses most at END, over the first 256 kept prompts."""
    return _answer(ctx.views.report(experiment_id, View("writes", component)))


def _answer(body: bytes | None) -> Response:
    if body is None:
        return Response(status_code=202, headers={"Retry-After": "1", "Cache-Control": "no-store"})
    return Response(body, media_type="application/json", headers=UNCHANGING)
