"""Problem JSON: every error of this server is RFC 9457 problem JSON with a way out, and never a traceback."""

from __future__ import annotations

import json
from typing import Any, get_args

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from arithmoscope.contracts.errors import PROBLEMS, Code, ProblemDetails, Refusal
from arithmoscope.contracts.kinds import Kind

MEDIA_TYPE = "application/problem+json"

_MAX_SHOWN = 3
_PLACES = {"body", "query", "path", "header", "cookie"}
# Pydantic puts the tag of a tagged union into an error's location, although it is not a field that the user wrote.
# Tags by the location before them; "" is the body itself.
_PROMPT_SOURCES = frozenset({"custom", "template"})
_PROMPT_FIELDS = ("prompts", "found_on", "evaluated_on", "validation", "test")
_TAGS = {"": frozenset(get_args(Kind)), **dict.fromkeys(_PROMPT_FIELDS, _PROMPT_SOURCES)}
_CODES: dict[int, Code] = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large", 415: "not_json"}


class RetryLater(Refusal):
    """A refusal that may be retried after ``after_s`` seconds (``Retry-After``)."""

    def __init__(self, code: Code, detail: str, *, after_s: int) -> None:
        super().__init__(code, detail)
        self.after_s = after_s


def problem_response(details: ProblemDetails, headers: dict[str, str] | None = None) -> Response:
    """A problem as a response. Sent, it leaves its code in ``scope["state"]["refusal"]``."""
    return _Problem(details, headers)


class _Problem(Response):
    def __init__(self, details: ProblemDetails, headers: dict[str, str] | None) -> None:
        super().__init__(problem_bytes(details), details.status, headers, MEDIA_TYPE)
        self._code = details.type.rpartition(":")[2]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["refusal"] = self._code
        await super().__call__(scope, receive, send)


def problem_bytes(details: ProblemDetails) -> bytes:
    """A problem as UTF-8 JSON. Lone surrogates, which a request may contain, become question marks."""
    return json.dumps(details.model_dump(), ensure_ascii=False).encode("utf-8", "replace")


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI ``responses`` of a route that may fail with these statuses."""
    schema = {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}
    return {
        status: {"description": _DESCRIPTIONS[status], "content": {MEDIA_TYPE: schema}} for status in sorted(statuses)
    }


_DESCRIPTIONS = {
    400: "Not a valid HTTP request",
    401: "The token is missing or wrong",
    403: "Not allowed",
    404: "Not found",
    408: "The body did not arrive in time",
    409: "Not possible in the experiment's current state",
    413: "Too large",
    415: "Unsupported media type, or a compressed body",
    422: "Invalid; `detail` names the field",
    429: "Too many requests or unfinished experiments; retry after `Retry-After` seconds",
    431: "The headers are too large",
    503: "Not available now; retry later",
    507: "The disk quota is used up",
}


def install_handlers(app: FastAPI) -> None:
    """Makes refusals, framework errors and unexpected exceptions problem JSON."""
    app.exception_handler(Refusal)(_on_refusal)
    app.exception_handler(RequestValidationError)(_on_validation_error)
    app.exception_handler(HTTPException)(_on_http_exception)
    app.exception_handler(Exception)(_on_exception)


async def _on_refusal(request: Request, error: Refusal) -> Response:
    after_s = error.after_s if isinstance(error, RetryLater) else 5
    headers = {"Retry-After": str(after_s)} if error.problem.status in (429, 503) else None
    return problem_response(error.details(), headers)


async def _on_validation_error(request: Request, error: RequestValidationError) -> Response:
    for item in error.errors():
        # A validator with its own error code and wording, as in `arithmoscope.contracts.experiments`.
        if item["type"] in PROBLEMS:
            context = item["ctx"]
            return problem_response(Refusal(item["type"], context["detail"], context["way_out"]).details())
    return problem_response(Refusal("bad_request", _summary(error.errors())).details())


async def _on_http_exception(request: Request, error: HTTPException) -> Response:
    code = _CODES.get(error.status_code, "bad_request")
    path = request.url.path[:200]
    detail = {
        "not_found": f"There is nothing at {path}.",
        "method_not_allowed": f"{path} does not support {request.method}.",
    }.get(code, f"{error.detail}.")
    headers = {"Allow": error.headers["Allow"]} if error.headers and "Allow" in error.headers else None
    return problem_response(Refusal(code, detail).details(), headers)


async def _on_exception(request: Request, error: Exception) -> Response:
    # Starlette raises the error again after this response, so that the log has its traceback.
    detail = f"{request.method} {request.url.path[:200]} failed with {type(error).__name__}."
    return problem_response(Refusal("internal", detail).details())


def _summary(errors: Any) -> str:
    sentences = [_sentence(error) for error in errors[:_MAX_SHOWN]]
    more = f" And {len(errors) - _MAX_SHOWN} more." if len(errors) > _MAX_SHOWN else ""
    return " ".join(sentences) + more


def _sentence(error: dict[str, Any]) -> str:
    if error["type"] == "json_invalid":
        return f"The body is not valid JSON: {error['ctx']['error']} at character {error['loc'][-1]}."
    field = _field_path(error["loc"])
    if error["type"].startswith("union_tag"):  # the field that selects the union's member
        field = ".".join(filter(None, (field, error["ctx"]["discriminator"].strip("'"))))
    if error["type"] == "missing" and field == "":
        return "The body is missing."
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{field or 'The body'}: {message[:1].lower() + message[1:300]}."


def _field_path(loc: tuple[str | int, ...]) -> str:
    path, last = "", ""
    for part in loc[1:] if loc and loc[0] in _PLACES else loc:
        if isinstance(part, int):
            path += f"[{part}]"
            continue
        if part not in _TAGS.get(last, ()):
            path += f".{part[:60]}" if path else part[:60]
        last = part
    return path
