"""The OpenAPI document of the API.

Types of the page are generated from it, so that it also holds the data of server-sent events, and says for
every call which refusals it may answer.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from arithmoscope.contracts.errors import ProblemDetails
from arithmoscope.contracts.experiments import Progress, StateChange
from arithmoscope.contracts.results import Partial
from arithmoscope.contracts.tuning_results import TrainingCurve
from arithmoscope_api.http.problems import MEDIA_TYPE, documented
from arithmoscope_api.http.security import OPEN_PATHS

TITLE = "Arithmoscope"
DESCRIPTION = (
    "Which attention heads and MLPs a language model uses to do arithmetic. "
    "Every refusal is problem JSON (RFC 9457) with a `way_out`."
)
_REF = "#/components/schemas/{model}"
# Of events and of refusals: FastAPI sees no route that returns them.
_MORE: tuple[type[BaseModel], ...] = (ProblemDetails, Progress, Partial, TrainingCurve, StateChange)


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """The document of an app's routes, made once."""
    if app.openapi_schema is None:
        document = get_openapi(title=TITLE, version=app.version, description=DESCRIPTION, routes=app.routes)
        asked: list[tuple[type[BaseModel], Any]] = [(model, "serialization") for model in _MORE]
        _, more = models_json_schema(asked, ref_template=_REF)
        schemas = document["components"]["schemas"]
        document["components"]["schemas"] = {**more["$defs"], **schemas}
        _without_invented_refusals(document)
        _with_refusals_of_the_doors(document)
        _with_lists_that_do_not_repeat(document)
        app.openapi_schema = document
    return app.openapi_schema


def _without_invented_refusals(document: dict[str, Any]) -> None:
    # FastAPI adds a 422 of its own shape to every call that documents none; ours are problem JSON.
    for operations in document["paths"].values():
        for operation in operations.values():
            if MEDIA_TYPE not in operation["responses"].get("422", {}).get("content", {}):
                operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)


def _with_refusals_of_the_doors(document: dict[str, Any]) -> None:
    # What is refused before a route is reached, or by what all routes share.
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            codes = {400, 403, 431, 503}
            if path not in OPEN_PATHS:
                codes |= {401, 429}
            if method in ("post", "put", "patch"):
                codes |= {408, 413, 415, 422}
            for code, answer in documented(*codes).items():
                operation["responses"].setdefault(str(code), answer)
            operation["responses"] = dict(sorted(operation["responses"].items()))


def _with_lists_that_do_not_repeat(document: dict[str, Any]) -> None:
    # Validators hold it; pydantic's own word for it would be a set, which loses the order that people gave.
    for schema in document["components"]["schemas"].values():
        for name in ("metrics", "operations", "styles", "components"):
            if (listed := schema.get("properties", {}).get(name)) and listed.get("type") == "array":
                listed["uniqueItems"] = True
