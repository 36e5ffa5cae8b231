"""Routes of results: files that the worker stored, streamed unchanged. The API computes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from arithmoscope.contracts import csvw
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.kinds import KINDS, ExperimentResult, path_patching
from arithmoscope.contracts.kinds.base import CSV, RESULT, Artifact
from arithmoscope.contracts.kinds.path_patching import PathPatchingResult, PathPatchingSpec
from arithmoscope.contracts.terms import DEFAULT_METRIC, Metric
from arithmoscope_api.context import Context, Ctx
from arithmoscope_api.http.problems import problem_responses
from arithmoscope_api.routes.experiments import ExperimentId
from arithmoscope_api.views import refuse_other_kinds

router = APIRouter(prefix="/api/experiments/{experiment_id}", tags=["results"])

_CHUNK = 256 * 1024
# Files up to this size are read at once, which saves a thread switch for every chunk.
_READ_AT_ONCE = 1024 * 1024
_ERRORS = problem_responses(401, 403, 404, 409, 503)
_ERRORS_WITH_METRIC = {**_ERRORS, **problem_responses(422)}
# Only if the client names the content it has.
_NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {"description": "Unchanged since the content named in `If-None-Match`"}
}


def _file(media_type: str, schema: dict[str, Any], description: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"description": description, "content": {media_type: {"schema": schema}}}}


_CSV = f"{CSV}; charset=utf-8"
# The ranking has an address with a parameter, so it is not among the artifacts of the table.
_ANALYSIS = (path_patching.KIND.name,)


@router.get(
    "/result",
    response_class=Response,
    responses={200: {"model": ExperimentResult, "description": "The whole result"}, **_NOT_MODIFIED, **_ERRORS},
)
def result(experiment_id: ExperimentId, ctx: Ctx, request: Request) -> Response:
    """Returns the whole result; its schema depends on `kind`.

    A cancelled experiment has one if some pairs were finished. A fine-tuning that stopped on an error has one, too; its
    `problem` gives the reason. 409 while there is no result.
    """
    return _stored(ctx, request, experiment_id, RESULT, "application/json")


def _add_route(artifact: Artifact) -> None:
    """Adds the address of an artifact. Several kinds may store one of the same name."""
    kinds = tuple(kind.name for kind in KINDS.values() if artifact in kind.artifacts)
    media_type = _CSV if artifact.media_type == CSV else artifact.media_type
    save_as = artifact.save_as or f".{artifact.name}"

    def artifact_file(experiment_id: ExperimentId, ctx: Ctx, request: Request) -> Response:
        return _stored(ctx, request, experiment_id, artifact.name, media_type, f"{experiment_id}{save_as}", of=kinds)

    router.add_api_route(
        f"/{artifact.name}",
        artifact_file,
        name=artifact.operation or artifact.name.replace(".", "_"),
        description=artifact.summary,
        response_class=Response,
        responses={**_file(artifact.media_type, artifact.schema, artifact.title), **_NOT_MODIFIED, **_ERRORS},
    )


for _artifact in dict.fromkeys(artifact for kind in KINDS.values() for artifact in kind.artifacts):
    _add_route(_artifact)


@router.get(
    "/components.csv",
    response_class=Response,
    responses={
        **_file("text/csv", {"type": "string"}, "The ranking of the components"),
        **_NOT_MODIFIED,
        **_ERRORS_WITH_METRIC,
    },
)
def components_csv(
    experiment_id: ExperimentId, ctx: Ctx, request: Request, metric: Metric = DEFAULT_METRIC
) -> Response:
    """Returns the ranking: one row per component, ascending by the mean effect. 409 for a metric that was not computed,
    and for other kinds of experiment.
    """
    name = f"components.{metric}.csv"
    try:
        response = _stored(ctx, request, experiment_id, name, _CSV, f"{experiment_id}.{name}", of=_ANALYSIS)
    except Refusal as refusal:
        raise _explain_missing(ctx, experiment_id, metric, refusal) from refusal
    metadata = f"components.csv-metadata.json?metric={metric}"
    response.headers["Link"] = f'<{metadata}>; rel="describedby"; type="{csvw.MEDIA_TYPE}"'
    return response


@router.get(
    "/components.csv-metadata.json",
    response_class=Response,
    responses={
        **_file(csvw.MEDIA_TYPE, {"type": "object"}, "Description of the ranking (CSV on the Web)"),
        **_NOT_MODIFIED,
        **_ERRORS_WITH_METRIC,
    },
)
def components_csv_metadata(
    experiment_id: ExperimentId, ctx: Ctx, request: Request, metric: Metric = DEFAULT_METRIC
) -> Response:
    """Returns the columns of `components.csv` with data types and units, and the checks and provenance of its values.
    409 for a metric that was not computed, and for other kinds of experiment.
    """
    try:
        name = f"components.{metric}.csv-metadata.json"
        return _stored(ctx, request, experiment_id, name, csvw.MEDIA_TYPE, of=_ANALYSIS)
    except Refusal as refusal:
        cause = _explain_missing(ctx, experiment_id, metric, refusal)
        if cause.code != "no_result":
            raise cause from refusal
    # Results stored before this file existed contain all that it describes.
    result = PathPatchingResult.model_validate_json(ctx.store.read_artifact(experiment_id, RESULT))
    document = csvw.csv_metadata(result, metric, f"components.csv?metric={metric}")
    return Response(document, media_type=csvw.MEDIA_TYPE, headers=UNCHANGING)


# A result never changes, but its experiment may be deleted or, if it was cancelled, run again: the browser revalidates
# each time, and gets a 304 by the hash of the content.
UNCHANGING = {"Cache-Control": "private, no-cache"}


def _stored(
    ctx: Context,
    request: Request,
    experiment_id: str,
    name: str,
    media_type: str,
    save_as: str | None = None,
    *,
    of: tuple[str, ...] = (),
) -> Response:
    """The response with a stored artifact, or a 304.

    Raises:
        Refusal: The experiment is unfinished (``not_finished``), or the artifact is missing (``no_result``) because
            only experiments of the kinds ``of`` have it (``wrong_kind``).
    """
    try:
        kept = ctx.store.artifact_info(experiment_id, name)
    except Refusal as refusal:
        if of and refusal.code != "unknown_experiment":
            refuse_other_kinds(ctx.store.experiment_status(experiment_id).kind, of)
        raise
    tag = f'"{kept.sha256}"'
    headers = {**UNCHANGING, "ETag": tag}
    if save_as is not None:
        headers["Content-Disposition"] = f'attachment; filename="{save_as}"'
    if _matches_etag(request, tag):
        return Response(status_code=304, headers=headers)
    file = ctx.store.open_content(experiment_id, kept)
    if kept.size <= _READ_AT_ONCE:
        with file:
            return Response(file.read(), media_type=media_type, headers=headers)

    def chunks() -> Iterator[bytes]:
        with file:
            while chunk := file.read(_CHUNK):
                yield chunk

    return StreamingResponse(chunks(), media_type=media_type, headers=headers)


def _matches_etag(request: Request, tag: str) -> bool:
    tags = ",".join(request.headers.getlist("if-none-match")).split(",")
    return any(candidate.strip().removeprefix("W/") in (tag, "*") for candidate in tags)


def _explain_missing(ctx: Context, experiment_id: str, metric: Metric, refusal: Refusal) -> Refusal:
    """The refusal for a missing file of a metric: ``metric_not_computed`` if the spec did not include the metric."""
    if refusal.code != "no_result":
        return refusal
    spec = ctx.store.experiment(experiment_id).spec
    if not isinstance(spec, PathPatchingSpec) or metric in spec.metrics:
        return refusal
    computed = spec.metrics
    return Refusal(
        "metric_not_computed", f"{metric} was not computed; the computed metrics are: {', '.join(computed)}."
    )
