"""Routes of experiments: submit, list, read, edit, cancel, retry, delete and restore."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from arithmoscope.contracts.base import Wire
from arithmoscope.contracts.experiments import MAX_NAME, Experiment, ExperimentEdit, ExperimentList, Priority, State
from arithmoscope.contracts.kinds import ExperimentSpec, Kind
from arithmoscope_api import submission
from arithmoscope_api.context import Ctx
from arithmoscope_api.http.problems import problem_responses

router = APIRouter(prefix="/api/experiments", tags=["experiments"])

ExperimentId = Annotated[str, Path(description="The experiment's `id`")]
# No NUL byte: access control rejects it in every query.
_TEXT = r"^[^\x00]*$"
_NEW = {202: {"model": Experiment, "description": "A new experiment; `Location` is its URL"}}
_EXISTING = {200: {"model": Experiment, "description": "The existing experiment of the same question"}}


@router.post(
    "",
    status_code=202,
    responses={**_NEW, **_EXISTING, **problem_responses(401, 403, 404, 409, 413, 415, 422, 429, 503, 507)},
)
def submit(
    spec: ExperimentSpec,
    ctx: Ctx,
    request: Request,
    response: Response,
    priority: Annotated[Priority, Query(description="Place in the queue; not part of the question")] = "normal",
    name: Annotated[
        str, Query(max_length=MAX_NAME, pattern=_TEXT, description="Display name; not part of the question")
    ] = "",
) -> Experiment:
    """Submits an experiment and returns it. The prompts are parsed and tokenised before it is accepted.

    The `parent` of a knock-out is a finished analysis: 409 if it has no result yet or is not an analysis.
    `POST /api/tuning/preview` shows in advance what a fine-tuning would train.
    If the same question was submitted before, the existing experiment is returned unchanged, with status 200; the
    `name` and `priority` of the call are ignored. 429: too many unfinished experiments or requests. 507: the disk
    quota is used up.
    """
    asked_by = request.scope.get("state", {}).get("asked_by", "")
    experiment, is_new = submission.submit(ctx, spec, asked_by=asked_by, priority=priority, name=name)
    response.status_code = 202 if is_new else 200
    response.headers["Location"] = f"{request.scope.get('root_path', '')}/api/experiments/{experiment.id}"
    return experiment


@router.get("", response_model=ExperimentList, responses=problem_responses(401, 403, 422, 503))
def experiments(
    ctx: Ctx,
    kind: Kind | None = None,
    state: State | None = None,
    model: Annotated[str | None, Query(max_length=200)] = None,
    parent: Annotated[
        str | None, Query(max_length=64, pattern=_TEXT, description="Only experiments on this analysis")
    ] = None,
    cursor: Annotated[
        str | None, Query(max_length=200, pattern=_TEXT, description="`next_cursor` of the previous page")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    deleted: Annotated[bool, Query(description="Only deleted experiments that can be restored")] = False,
) -> Response:
    """Returns a page of experiments, newest first, without results. Large specs make a page shorter than `limit`."""
    return _json(
        ctx.store.experiments(
            kind=kind, state=state, model=model, parent=parent, cursor=cursor, limit=limit, deleted=deleted
        )
    )


@router.get("/{experiment_id}", response_model=Experiment, responses=problem_responses(401, 403, 404, 503))
def experiment(experiment_id: ExperimentId, ctx: Ctx) -> Response:
    """Returns an experiment with its state and progress."""
    return _json(ctx.store.experiment(experiment_id))


@router.patch("/{experiment_id}", responses=problem_responses(401, 403, 404, 413, 415, 422, 503))
def edit(experiment_id: ExperimentId, changes: ExperimentEdit, ctx: Ctx) -> Experiment:
    """Changes the name, notes or priority of an experiment, and returns it. Omitted fields stay unchanged."""
    return submission.edit(ctx, experiment_id, changes)


@router.post("/{experiment_id}/cancel", responses=problem_responses(401, 403, 404, 503))
def cancel(experiment_id: ExperimentId, ctx: Ctx) -> Experiment:
    """Stops an experiment after the current batch, keeping what was computed. A finished one stays unchanged."""
    return submission.cancel(ctx, experiment_id)


@router.post("/{experiment_id}/retry", status_code=202, responses=problem_responses(401, 403, 404, 409, 429, 503, 507))
def retry(experiment_id: ExperimentId, ctx: Ctx) -> Experiment:
    """Queues a failed or cancelled experiment, or one whose result was lost, again. Finished batches are kept."""
    return submission.retry(ctx, experiment_id)


@router.delete("/{experiment_id}", status_code=204, responses=problem_responses(401, 403, 404, 409, 503))
def delete(experiment_id: ExperimentId, ctx: Ctx) -> None:
    """Deletes an experiment; 409 while it runs. It can be restored for a day; then its files are removed."""
    submission.delete(ctx, experiment_id)


@router.post("/{experiment_id}/restore", responses=problem_responses(401, 403, 404, 409, 429, 503, 507))
def restore(experiment_id: ExperimentId, ctx: Ctx) -> Experiment:
    """Restores a deleted experiment; one that was queued is queued again. 409 if the same question was resubmitted."""
    return submission.restore(ctx, experiment_id)


def _json(body: Wire) -> Response:
    """Serialises a frequent response in the route's own thread; FastAPI would do it on the event loop."""
    return Response(body.model_dump_json(), media_type="application/json")
