"""Routes of views: results that a worker computes of a finished analysis on demand, once, and stores."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response

from arithmoscope.contracts.base import Wire
from arithmoscope.contracts.results import AttentionPattern
from arithmoscope.contracts.terms import ComponentName
from arithmoscope.contracts.views import KeyReport, LensReport, RoleReport, StagesReport, WritesReport
from arithmoscope.store.views import View
from arithmoscope_api.context import Ctx
from arithmoscope_api.http.problems import problem_responses
from arithmoscope_api.routes.artifacts import UNCHANGING
from arithmoscope_api.routes.experiments import ExperimentId

router = APIRouter(prefix="/api/experiments/{experiment_id}", tags=["views"])

_Prompt = Annotated[int, Query(description="Index in the submitted list, from 0")]


def _view_responses(model: type[Wire], description: str, *statuses: int) -> dict[int | str, dict[str, Any]]:
    return {
        200: {"model": model, "description": description},
        202: {"description": "Not stored yet: a worker computes it; retry after `Retry-After` seconds"},
        **problem_responses(401, 403, 404, 409, *statuses, 503),
    }


@router.get(
    "/attention",
    response_class=Response,
    responses=_view_responses(AttentionPattern, "One layer of one prompt", 422),
)
def attention(
    experiment_id: ExperimentId,
    ctx: Ctx,
    layer: Annotated[int, Query(description="From 0")],
    prompt: _Prompt,
) -> Response:
    """Returns the attention of one layer and prompt in the reference run.

    `weights` is [head][query][key]; each row sums to 1. 404: no such layer or prompt. 503: it is not stored, and no
    worker is available to compute it.
    """
    return _respond(ctx.views.attention(experiment_id, layer, prompt))


@router.get("/key", response_class=Response, responses=_view_responses(KeyReport, "The key components"))
def key(experiment_id: ExperimentId, ctx: Ctx) -> Response:
    """Returns the key components by false discovery rate and by the paper's threshold, for every computed metric."""
    return _respond(ctx.views.report(experiment_id, View("key")))


@router.get(
    "/roles", response_class=Response, responses=_view_responses(RoleReport, "The attention of every head by role")
)
def roles(experiment_id: ExperimentId, ctx: Ctx) -> Response:
    """Returns the attention of every head from END to each role, over the first 256 kept prompts, with baselines."""
    return _respond(ctx.views.report(experiment_id, View("roles")))


@router.get(
    "/lens",
    response_class=Response,
    responses=_view_responses(LensReport, "The predictions of one prompt, layer by layer", 422),
)
def lens(experiment_id: ExperimentId, ctx: Ctx, prompt: _Prompt) -> Response:
    """Returns the predictions from the residual stream at END after each layer of the reference run, the embedding
    first. 404: no such prompt.
    """
    # A prompt outside the list is refused before its number becomes part of a file name.
    return _respond(ctx.views.report(experiment_id, View("lens", str(prompt))))


@router.get(
    "/stages",
    response_class=Response,
    responses=_view_responses(StagesReport, "The stages in which the answer emerges"),
)
def stages(experiment_id: ExperimentId, ctx: Ctx) -> Response:
    """Returns the answer's probability and rank by layer and the two cosine curves, with their start, turning point
    and end, over the first 256 kept prompts.
    """
    return _respond(ctx.views.report(experiment_id, View("stages")))


@router.get(
    "/writes",
    response_class=Response,
    responses=_view_responses(WritesReport, "The tokens that a component promotes and suppresses", 422),
)
def writes(
    experiment_id: ExperimentId,
    ctx: Ctx,
    component: Annotated[ComponentName, Query(description="`L14H2` is a head, `MLP19` an MLP")],
) -> Response:
    """Returns the number tokens that a component promotes and suppresses most at END, over the first 256 kept prompts.

    422: not a component's name, or the model has no such component.
    """
    return _respond(ctx.views.report(experiment_id, View("writes", component)))


def _respond(body: bytes | None) -> Response:
    if body is None:
        return Response(status_code=202, headers={"Retry-After": "1", "Cache-Control": "no-store"})
    return Response(body, media_type="application/json", headers=UNCHANGING)
