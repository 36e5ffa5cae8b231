"""The OpenAPI document of the API.

The frontend's types are generated from it, so it also contains the data of server-sent events and lists, for every
call, the errors that it may return.
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
from arithmoscope.contracts.vocabulary import CHOICES, VALUES
from arithmoscope_api.http.access_control import OPEN_PATHS
from arithmoscope_api.http.problems import MEDIA_TYPE, problem_responses

TITLE = "Arithmoscope"
DESCRIPTION = (
    "Finds the attention heads and MLPs that a language model uses for arithmetic. "
    "Every error is problem JSON (RFC 9457) with a `way_out`."
)
_REF = "#/components/schemas/{model}"
# Models of events and errors: FastAPI sees no route that returns them.
_EXTRA_MODELS: tuple[type[BaseModel], ...] = (ProblemDetails, Progress, Partial, TrainingCurve, StateChange)


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """The document of an app's routes, built once."""
    if app.openapi_schema is None:
        document = get_openapi(title=TITLE, version=app.version, description=DESCRIPTION, routes=app.routes)
        extra: list[tuple[type[BaseModel], Any]] = [(model, "serialization") for model in _EXTRA_MODELS]
        _, definitions = models_json_schema(extra, ref_template=_REF)
        schemas = document["components"]["schemas"]
        document["components"]["schemas"] = {**definitions["$defs"], **schemas}
        _remove_default_422(document)
        _add_middleware_errors(document)
        _mark_unique_lists(document)
        _explain_choices(document)
        app.openapi_schema = document
    return app.openapi_schema


def _remove_default_422(document: dict[str, Any]) -> None:
    # FastAPI adds a 422 in its own format to every call that documents none; ours are problem JSON.
    for operations in document["paths"].values():
        for operation in operations.values():
            if MEDIA_TYPE not in operation["responses"].get("422", {}).get("content", {}):
                operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)


def _add_middleware_errors(document: dict[str, Any]) -> None:
    # Errors of the middleware and of the code that all routes share.
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            codes = {400, 403, 431, 503}
            if path not in OPEN_PATHS:
                codes |= {401, 429}
            if method in ("post", "put", "patch"):
                codes |= {408, 413, 415, 422}
            for code, response in problem_responses(*codes).items():
                operation["responses"].setdefault(str(code), response)
            operation["responses"] = dict(sorted(operation["responses"].items()))


def _mark_unique_lists(document: dict[str, Any]) -> None:
    # Validators enforce it; pydantic would express it only for a set, which loses the order of the items.
    for schema in document["components"]["schemas"].values():
        for name in ("metrics", "operations", "styles", "components"):
            if (field := schema.get("properties", {}).get(name)) and field.get("type") == "array":
                field["uniqueItems"] = True


def _explain_choices(document: dict[str, Any]) -> None:
    # The help of each value, after that of its option.
    choices = {values: CHOICES[name] for name, values in VALUES.items()}
    for schema in document["components"]["schemas"].values():
        for field in schema.get("properties", {}).values():
            for part in (field, field.get("items", {}), *field.get("anyOf", ())):
                rows = choices.get(tuple(part.get("enum", ())))
                if rows and "description" in field:
                    values = (f"`{value}`: {choice.help}." for value, choice in rows.items())
                    field["description"] = f"{field['description']}. {' '.join(values)}"
