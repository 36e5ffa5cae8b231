"""Routes of views: results that a worker computes of a finished analysis on demand, once, and stores."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response

from arithmoscope.contracts.terms import ComponentName
from arithmoscope.contracts.views import VIEWS, ViewRow
from arithmoscope.store.views import View
from arithmoscope_api.context import Ctx
from arithmoscope_api.http.problems import problem_responses
from arithmoscope_api.routes.artifacts import UNCHANGING
from arithmoscope_api.routes.experiments import ExperimentId

router = APIRouter(prefix="/api/experiments/{experiment_id}", tags=["views"])

_Prompt = Annotated[int, Query(description="Index in the submitted list, from 0")]
_Component = Annotated[ComponentName, Query(description="`L14H2` is a head, `MLP19` an MLP")]


def _responses(row: ViewRow) -> dict[int | str, dict[str, Any]]:
    statuses = (401, 403, 404, 409, *((422,) if row.parameter else ()), 503)
    return {
        200: {"model": row.report, "description": row.title},
        202: {"description": "Not stored yet: a worker computes it; retry after `Retry-After` seconds"},
        **problem_responses(*statuses),
    }


@router.get(
    "/attention",
    description=VIEWS["attention"].summary,
    response_class=Response,
    responses=_responses(VIEWS["attention"]),
)
def attention(
    experiment_id: ExperimentId,
    ctx: Ctx,
    layer: Annotated[int, Query(description="From 0")],
    prompt: _Prompt,
) -> Response:
    return _respond(ctx.views.attention(experiment_id, layer, prompt))


def _add_route(row: ViewRow) -> None:
    """Adds the address of a view, with the query parameter that it has."""

    def whole(experiment_id: ExperimentId, ctx: Ctx) -> Response:
        return _respond(ctx.views.report(experiment_id, View(row.name)))

    def of_prompt(experiment_id: ExperimentId, ctx: Ctx, prompt: _Prompt) -> Response:
        # A prompt outside the list is refused before its number becomes part of a file name.
        return _respond(ctx.views.report(experiment_id, View(row.name, str(prompt))))

    def of_component(experiment_id: ExperimentId, ctx: Ctx, component: _Component) -> Response:
        return _respond(ctx.views.report(experiment_id, View(row.name, component)))

    endpoint = {None: whole, "prompt": of_prompt, "component": of_component}[row.parameter]
    router.add_api_route(
        f"/{row.name}",
        endpoint,
        name=row.name,
        description=row.summary,
        response_class=Response,
        responses=_responses(row),
    )


for _row in VIEWS.values():
    if _row.name != "attention":  # its address has a layer, too
        _add_route(_row)


def _respond(body: bytes | None) -> Response:
    if body is None:
        return Response(status_code=202, headers={"Retry-After": "1", "Cache-Control": "no-store"})
    return Response(body, media_type="application/json", headers=UNCHANGING)
