"""What an experiment found, as the worker wrote it: the API streams the bytes and computes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from arithmoscope.contracts import csvw
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.knockout_results import ExperimentResult
from arithmoscope.contracts.results import PathPatchingResult
from arithmoscope.contracts.specs import Kind, Metric, PathPatchingSpec
from arithmoscope.store.tuned_models import DELTAS
from arithmoscope_api.context import Context, Ctx
from arithmoscope_api.http.problems import documented
from arithmoscope_api.result_tokens import RESULT
from arithmoscope_api.routes.experiments import ExperimentId
from arithmoscope_api.views import refuse_other_kinds

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
_CSV = "text/csv; charset=utf-8"
_ANALYSIS: tuple[Kind, ...] = ("path_patching",)
_TUNING: tuple[Kind, ...] = ("fine_tune",)
_BINARY = "application/octet-stream"


@router.get(
    "/result",
    response_class=Response,
    responses={200: {"model": ExperimentResult, "description": "The whole result"}, **_SAME, **_REFUSED},
)
def result(experiment_id: ExperimentId, ctx: Ctx, request: Request) -> Response:
    """The whole result, by `kind`, also of an experiment that was cancelled with some pairs finished, and of a
    fine-tuning that broke: its `problem` says how."""
    return _stored(ctx, request, experiment_id, RESULT, "application/json")


@router.get(
    "/curve.csv",
    response_class=Response,
    responses={**_file("text/csv", {"type": "string"}, "The curve of a knock-out"), **_SAME, **_REFUSED},
)
def curve_csv(experiment_id: ExperimentId, ctx: Ctx, request: Request) -> Response:
    """A knock-out's curve: one row for every k and metric, beside it the random components'; `component` is the one
    that is taken out at k."""
    return _stored(ctx, request, experiment_id, "curve.csv", _CSV, f"{experiment_id}.curve.csv", of=("knockout",))


@router.get(
    "/matrix.csv",
    response_class=Response,
    responses={**_file("text/csv", {"type": "string"}, "The matrices of a transfer"), **_SAME, **_REFUSED},
)
def matrix_csv(experiment_id: ExperimentId, ctx: Ctx, request: Request) -> Response:
    """A transfer's matrices: one row for every set found on, set evaluated on, and metric."""
    return _stored(ctx, request, experiment_id, "matrix.csv", _CSV, f"{experiment_id}.matrix.csv", of=("transfer",))


@router.get(
    "/raw.safetensors",
    response_class=Response,
    responses={**_file("application/octet-stream", _BYTES, "As the engine saves it"), **_SAME, **_REFUSED},
)
def raw_safetensors(experiment_id: ExperimentId, ctx: Ctx, request: Request) -> Response:
    """A knock-out's numbers of every pair, or a transfer's matrices, for `Knockout.load` and `Transfer.load`."""
    name = "raw.safetensors"
    of: tuple[Kind, ...] = ("knockout", "transfer")
    return _stored(ctx, request, experiment_id, name, "application/octet-stream", f"{experiment_id}.safetensors", of=of)


@router.get(
    "/deltas.safetensors",
    response_class=Response,
    responses={**_file(_BINARY, _BYTES, "What a fine-tuning changed"), **_SAME, **_REFUSED},
)
def deltas(experiment_id: ExperimentId, ctx: Ctx, request: Request) -> Response:
    """The tuned numbers alone, for `Deltas.load`, which puts them onto the model that was tuned. Also of one that was
    cancelled or broke: those of its last good step."""
    return _stored(ctx, request, experiment_id, DELTAS, _BINARY, f"{experiment_id}.{DELTAS}", of=_TUNING)


@router.get(
    "/adapter.zip",
    response_class=Response,
    responses={**_file("application/zip", _BYTES, "The same as a PEFT adapter"), **_SAME, **_REFUSED},
)
def adapter_zip(experiment_id: ExperimentId, ctx: Ctx, request: Request) -> Response:
    """A folder that PEFT loads onto the model that was tuned. 409 where what was tuned has no low rank: heads' slices
    have, whole MLPs have not."""
    name = "adapter.zip"
    return _stored(ctx, request, experiment_id, name, "application/zip", f"{experiment_id}.{name}", of=_TUNING)


@router.get(
    "/history.csv",
    response_class=Response,
    responses={**_file("text/csv", {"type": "string"}, "The steps of a training"), **_SAME, **_REFUSED},
)
def history_csv(experiment_id: ExperimentId, ctx: Ctx, request: Request) -> Response:
    """A fine-tuning's steps, one a row."""
    name = "history.csv"
    return _stored(ctx, request, experiment_id, name, _CSV, f"{experiment_id}.{name}", of=_TUNING)


@router.get(
    "/judged.csv",
    response_class=Response,
    responses={**_file("text/csv", {"type": "string"}, "Before and after, question by question"), **_SAME, **_REFUSED},
)
def judged_csv(experiment_id: ExperimentId, ctx: Ctx, request: Request) -> Response:
    """What the model answers before and after a fine-tuning, one question a row."""
    name = "judged.csv"
    return _stored(ctx, request, experiment_id, name, _CSV, f"{experiment_id}.{name}", of=_TUNING)


@router.get(
    "/repatched.csv",
    response_class=Response,
    responses={**_file("text/csv", {"type": "string"}, "Path patching before and after"), **_SAME, **_REFUSED},
)
def repatched_csv(experiment_id: ExperimentId, ctx: Ctx, request: Request) -> Response:
    """Every component's effect before and after a fine-tuning, and the difference, one component a row."""
    name = "repatched.csv"
    return _stored(ctx, request, experiment_id, name, _CSV, f"{experiment_id}.{name}", of=_TUNING)


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
        answer = _stored(ctx, request, experiment_id, name, _CSV, f"{experiment_id}.{name}", of=_ANALYSIS)
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
        name = f"components.{metric}.csv-metadata.json"
        return _stored(ctx, request, experiment_id, name, csvw.MEDIA_TYPE, of=_ANALYSIS)
    except Refusal as refusal:
        why = _computed(ctx, experiment_id, metric, refusal)
        if why.code != "no_result":
            raise why from refusal
    # Stored before rankings were described: all that the document says is in the result.
    result = PathPatchingResult.model_validate_json(ctx.store.read_artifact(experiment_id, RESULT))
    document = csvw.csv_metadata(result, metric, f"components.csv?metric={metric}")
    return Response(document, media_type=csvw.MEDIA_TYPE, headers=UNCHANGING)


@router.get(
    "/arrays.npz",
    response_class=Response,
    responses={**_file("application/octet-stream", _BYTES, "The raw arrays, for numpy.load"), **_SAME, **_REFUSED},
)
def arrays_npz(experiment_id: ExperimentId, ctx: Ctx, request: Request) -> Response:
    """The effects of every pair, the kept pairs' numbers in the submitted list, and the logits."""
    name = "arrays.npz"
    return _stored(ctx, request, experiment_id, name, "application/octet-stream", f"{experiment_id}.npz", of=_ANALYSIS)


# A result never changes, but its experiment may be deleted or, when it was cut short, run again: the browser asks
# each time, and is told by the content's hash that it has it already.
UNCHANGING = {"Cache-Control": "private, no-cache"}


def _stored(
    ctx: Context,
    request: Request,
    experiment_id: str,
    name: str,
    media_type: str,
    save_as: str | None = None,
    *,
    of: tuple[Kind, ...] = (),
) -> Response:
    """Refuses ``not_finished``; a missing artifact says ``no_result``, or that only experiments ``of`` other kinds have
    one (``wrong_kind``)."""
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
    if _has_already(request, tag):
        return Response(status_code=304, headers=headers)
    file = ctx.store.open_content(experiment_id, kept)
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
    spec = ctx.store.experiment(experiment_id).spec
    if not isinstance(spec, PathPatchingSpec) or metric in spec.metrics:
        return refusal
    computed = spec.metrics
    return Refusal("metric_not_computed", f"{metric} was not computed; these were: {', '.join(computed)}.")
