"""Experiments: ask for one, look at it, name it, cancel it, run it again, delete it and bring it back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from arithmoscope.contracts.base import Wire
from arithmoscope.contracts.experiments import MAX_NAME, Experiment, ExperimentEdit, ExperimentList, Priority, State
from arithmoscope.contracts.specs import ExperimentSpec, Kind
from arithmoscope_api import submission
from arithmoscope_api.context import Ctx
from arithmoscope_api.http.problems import documented

router = APIRouter(prefix="/api/experiments", tags=["experiments"])

ExperimentId = Annotated[str, Path(description="As the experiment's `id` says")]
# No zero byte: the gate refuses it in every address.
_TEXT = r"^[^\x00]*$"
_NEW = {202: {"model": Experiment, "description": "A new experiment; `Location` says where it is"}}
_KNOWN = {200: {"model": Experiment, "description": "The same was asked before: this is that experiment"}}


@router.post(
    "", status_code=202, responses={**_NEW, **_KNOWN, **documented(401, 403, 404, 409, 413, 415, 422, 429, 503, 507)}
)
def submit(
    spec: ExperimentSpec,
    ctx: Ctx,
    request: Request,
    response: Response,
    priority: Annotated[Priority, Query(description="Whose turn comes first; no part of the question")] = "normal",
    name: Annotated[
        str, Query(max_length=MAX_NAME, pattern=_TEXT, description="What to call it; no part of the question")
    ] = "",
) -> Experiment:
    """Ask for an experiment. The prompts are parsed and tokenised before it is accepted.

    A knock-out is asked of a finished analysis, its `parent`: 409 while that has no result, or is no analysis. What a
    fine-tuning would train, `POST /api/tuning/preview` says beforehand.
    One that was asked before stays as it is, whatever name and priority come with the question.
    """
    asked_by = request.scope.get("state", {}).get("asked_by", "")
    experiment, is_new = submission.submit(ctx, spec, asked_by=asked_by, priority=priority, name=name)
    response.status_code = 202 if is_new else 200
    response.headers["Location"] = f"{request.scope.get('root_path', '')}/api/experiments/{experiment.id}"
    return experiment


@router.get("", response_model=ExperimentList, responses=documented(401, 403, 422, 503))
def experiments(
    ctx: Ctx,
    kind: Kind | None = None,
    state: State | None = None,
    model: Annotated[str | None, Query(max_length=200)] = None,
    parent: Annotated[
        str | None, Query(max_length=64, pattern=_TEXT, description="Only what was asked of this analysis")
    ] = None,
    cursor: Annotated[
        str | None, Query(max_length=200, pattern=_TEXT, description="`next_cursor` of the page before")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    deleted: Annotated[bool, Query(description="Only those that were deleted and can be brought back")] = False,
) -> Response:
    """The experiments, newest first, without their results. Long questions make a page shorter than `limit`."""
    return _json(
        ctx.store.experiments(
            kind=kind, state=state, model=model, parent=parent, cursor=cursor, limit=limit, deleted=deleted
        )
    )


@router.get("/{experiment_id}", response_model=Experiment, responses=documented(401, 403, 404, 503))
def experiment(experiment_id: ExperimentId, ctx: Ctx) -> Response:
    """An experiment and how far it is."""
    return _json(ctx.store.experiment(experiment_id))


@router.patch("/{experiment_id}", responses=documented(401, 403, 404, 413, 415, 422, 503))
def edit(experiment_id: ExperimentId, edited: ExperimentEdit, ctx: Ctx) -> Experiment:
    """Name it, write beside it, or change whose turn comes first. What is left out stays as it is."""
    return submission.edit(ctx, experiment_id, edited)


@router.post("/{experiment_id}/cancel", responses=documented(401, 403, 404, 503))
def cancel(experiment_id: ExperimentId, ctx: Ctx) -> Experiment:
    """Stop after the current batch; what was computed is kept. A finished experiment stays as it is."""
    return submission.cancel(ctx, experiment_id)


@router.post("/{experiment_id}/retry", status_code=202, responses=documented(401, 403, 404, 409, 429, 503, 507))
def retry(experiment_id: ExperimentId, ctx: Ctx) -> Experiment:
    """Run a failed or cancelled experiment again, or one whose result was lost; finished batches are kept."""
    return submission.retry(ctx, experiment_id)


@router.delete("/{experiment_id}", status_code=204, responses=documented(401, 403, 404, 409, 503))
def delete(experiment_id: ExperimentId, ctx: Ctx) -> None:
    """Delete an experiment that does not run. For a day it can be brought back, then all it stored is gone."""
    submission.delete(ctx, experiment_id)


@router.post("/{experiment_id}/restore", responses=documented(401, 403, 404, 409, 429, 503, 507))
def restore(experiment_id: ExperimentId, ctx: Ctx) -> Experiment:
    """Bring a deleted experiment back; one that waited waits again."""
    return submission.restore(ctx, experiment_id)


def _json(answer: Wire) -> Response:
    """What people ask for again and again, written here: the framework would do it in the thread of all others."""
    return Response(answer.model_dump_json(), media_type="application/json")
