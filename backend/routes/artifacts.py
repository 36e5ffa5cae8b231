"""What an experiment found, as the worker wrote it: the API streams the bytes and computes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse

from backend.context import Context, Ctx
from backend.problems import documented
from backend.results import RESULT
from backend.routes.experiments import ExperimentId
from contracts import csvw
from contracts.errors import Refusal
from contracts.experiments import FINAL_STATES
from contracts.results import AttentionPattern, PathPatchingResult
from contracts.specs import Metric

router = APIRouter(prefix="/api/experiments/{experiment_id}", tags=["results"])

_CHUNK = 256 * 1024
# What is so small is read in one go: no turn of a thread for every piece.
_AT_ONCE = 1024 * 1024
_REFUSED = documented(401, 403, 404, 409, 503)
_REFUSED_WITH_CHOICES = {**_REFUSED, **documented(422)}
# Only where the one who asks says which content it has.
_SAME: dict[int | str, dict[str, Any]] = {304: {"description": "The content that `If-None-Match` names"}}


def _file(media_type: str, schema: dict[str, Any], description: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"description": description, "content": {media_type: {"schema": schema}}}}


_BYTES = {"type": "string", "format": "binary"}


@router.get(
    "/result",
    response_class=Response,
    responses={200: {"model": PathPatchingResult, "description": "The whole result"}, **_SAME, **_REFUSED},
)
def result(experiment_id: ExperimentId, ctx: Ctx, request: Request) -> Response:
    """The whole result, also of an analysis that was cancelled with some pairs finished."""
    return _stored(ctx, request, experiment_id, RESULT, "application/json")


@router.get(
    "/components.csv",
    response_class=Response,
    responses={
        **_file("text/csv", {"type": "string"}, "The ranking of the components"),
        **_SAME,
        **_REFUSED_WITH_CHOICES,
    },
)
def components_csv(
    experiment_id: ExperimentId, ctx: Ctx, request: Request, metric: Metric = "relative_logit"
) -> Response:
    """One row a component, ascending by the mean effect. Refuses a metric that was not computed."""
    name = f"components.{metric}.csv"
    try:
        answer = _stored(ctx, request, experiment_id, name, "text/csv; charset=utf-8", f"{experiment_id}.{name}")
    except Refusal as refusal:
        raise _computed(ctx, experiment_id, metric, refusal) from refusal
    described = f"components.csv-metadata.json?metric={metric}"
    answer.headers["Link"] = f'<{described}>; rel="describedby"; type="{csvw.MEDIA_TYPE}"'
    return answer


@router.get(
    "/components.csv-metadata.json",
    response_class=Response,
    responses={
        **_file(csvw.MEDIA_TYPE, {"type": "object"}, "The ranking described: CSV on the Web"),
        **_SAME,
        **_REFUSED_WITH_CHOICES,
    },
)
def components_csv_metadata(
    experiment_id: ExperimentId, ctx: Ctx, request: Request, metric: Metric = "relative_logit"
) -> Response:
    """The columns of `components.csv` with datatypes and units; the checks and the provenance of its numbers."""
    try:
        return _stored(ctx, request, experiment_id, f"components.{metric}.csv-metadata.json", csvw.MEDIA_TYPE)
    except Refusal as refusal:
        why = _computed(ctx, experiment_id, metric, refusal)
        if why.code != "no_result":
            raise why from refusal
    # Stored before rankings were described: all that the document says is in the result.
    result = PathPatchingResult.model_validate_json(ctx.store.read_artifact(experiment_id, RESULT))
    document = csvw.csv_metadata(result, metric, f"components.csv?metric={metric}")
    return Response(document, media_type=csvw.MEDIA_TYPE, headers=_UNCHANGING)


@router.get(
    "/arrays.npz",
    response_class=Response,
    responses={**_file("application/octet-stream", _BYTES, "The raw arrays, for numpy.load"), **_SAME, **_REFUSED},
)
def arrays_npz(experiment_id: ExperimentId, ctx: Ctx, request: Request) -> Response:
    """The effects of every pair, the kept pairs' numbers in the submitted list, and the logits."""
    return _stored(ctx, request, experiment_id, "arrays.npz", "application/octet-stream", f"{experiment_id}.npz")


@router.get(
    "/attention",
    response_class=Response,
    responses={
        200: {"model": AttentionPattern, "description": "One layer of one prompt"},
        202: {"description": "Not stored with the result: a worker computes it; ask again after `Retry-After` seconds"},
        **_REFUSED_WITH_CHOICES,
    },
)
def attention(
    experiment_id: ExperimentId,
    ctx: Ctx,
    layer: Annotated[int, Query(description="From 0")],
    prompt: Annotated[int, Query(description="Counts in the list that was asked for, from 0")],
) -> Response:
    """The reference run's attention: ``weights`` is [head][query][key], every row of it sums to 1."""
    state = ctx.store.glance(experiment_id).state
    if state not in FINAL_STATES:
        raise Refusal("not_finished", f"The experiment is {state}.")
    body = ctx.attention.read(experiment_id, layer, prompt)
    if body is None:
        return Response(status_code=202, headers={"Retry-After": "1", "Cache-Control": "no-store"})
    return Response(body, media_type="application/json", headers=_UNCHANGING)


# A result never changes, but its experiment may be deleted or, when it was cut short, run again: the browser asks
# each time, and is told by the content's hash that it has it already.
_UNCHANGING = {"Cache-Control": "private, no-cache"}


def _stored(
    ctx: Context, request: Request, experiment_id: str, name: str, media_type: str, save_as: str | None = None
) -> Response:
    """Refuses ``not_finished``; a missing artifact says ``no_result``."""
    kept = ctx.store.kept_artifact(experiment_id, name)
    tag = f'"{kept.sha256}"'
    headers = {**_UNCHANGING, "ETag": tag}
    if save_as is not None:
        headers["Content-Disposition"] = f'attachment; filename="{save_as}"'
    if _has_already(request, tag):
        return Response(status_code=304, headers=headers)
    file = ctx.store.open_kept(experiment_id, kept)
    if kept.size <= _AT_ONCE:
        with file:
            return Response(file.read(), media_type=media_type, headers=headers)

    def chunks() -> Iterator[bytes]:
        with file:
            while chunk := file.read(_CHUNK):
                yield chunk

    return StreamingResponse(chunks(), media_type=media_type, headers=headers)


def _has_already(request: Request, tag: str) -> bool:
    asked = ",".join(request.headers.getlist("if-none-match"))
    return any(each.strip().removeprefix("W/") in (tag, "*") for each in asked.split(","))


def _computed(ctx: Context, experiment_id: str, metric: Metric, refusal: Refusal) -> Refusal:
    """Why a metric's file is not there: ``metric_not_computed`` where it was not asked for."""
    if refusal.code != "no_result":
        return refusal
    computed = ctx.store.experiment(experiment_id).spec.metrics
    if metric in computed:
        return refusal
    return Refusal("metric_not_computed", f"{metric} was not computed; these were: {', '.join(computed)}.")
