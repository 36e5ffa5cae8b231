"""Every error leaves this server as problem JSON (RFC 9457) with a way out; no traceback ever leaves it."""

from __future__ import annotations

import json
from typing import Any, get_args

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from arithmoscope.contracts.errors import PROBLEMS, Code, ProblemDetails, Refusal
from arithmoscope.contracts.specs import Kind

MEDIA_TYPE = "application/problem+json"

_SHOWN = 3
_PLACES = {"body", "query", "path", "header", "cookie"}
# A tagged union puts its tag into the place of an error; people wrote no such field. "" is the body itself.
_SETS = frozenset({"custom", "template"})
_LISTS_OF_PROMPTS = ("prompts", "found_on", "evaluated_on", "validation", "test")
_TAGS = {"": frozenset(get_args(Kind)), **dict.fromkeys(_LISTS_OF_PROMPTS, _SETS)}
_CODES: dict[int, Code] = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large", 415: "not_json"}


class TryLater(Refusal):
    """A refusal that holds for so many seconds."""

    def __init__(self, code: Code, detail: str, *, after_s: int) -> None:
        super().__init__(code, detail)
        self.after_s = after_s


def problem_response(details: ProblemDetails, headers: dict[str, str] | None = None) -> Response:
    """The refusal as a response."""
    return Response(problem_bytes(details), details.status, headers, MEDIA_TYPE)


def problem_bytes(details: ProblemDetails) -> bytes:
    """The refusal as UTF-8 JSON; a lone surrogate that someone sent becomes a question mark."""
    return json.dumps(details.model_dump(), ensure_ascii=False).encode("utf-8", "replace")


def documented(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route that may refuse with these statuses."""
    schema = {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}
    return {code: {"description": _DESCRIPTIONS[code], "content": {MEDIA_TYPE: schema}} for code in sorted(codes)}


_DESCRIPTIONS = {
    400: "No proper HTTP",
    401: "The token is missing or wrong",
    403: "Not allowed",
    404: "Not found",
    408: "The body did not come in time",
    409: "Not in this state",
    413: "Too large",
    415: "Not what this call takes, or compressed",
    422: "Cannot be used; `detail` names the field",
    429: "Too many; `Retry-After` says when the next is welcome",
    431: "The headers are too large",
    503: "Not available now",
    507: "The store is full",
}


def install(app: FastAPI) -> None:
    """Turn refusals, framework errors and accidents into problem JSON."""
    app.exception_handler(Refusal)(_refused)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(HTTPException)(_framework)
    app.exception_handler(Exception)(_broken)


async def _refused(request: Request, error: Refusal) -> Response:
    after_s = error.after_s if isinstance(error, TryLater) else 5
    headers = {"Retry-After": str(after_s)} if error.problem.status in (429, 503) else None
    return problem_response(error.details(), headers)


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    for each in error.errors():
        # A validator that refused in words of its own: `arithmoscope.contracts.experiments` says which.
        if each["type"] in PROBLEMS:
            said = each["ctx"]
            return problem_response(Refusal(each["type"], said["detail"], said["way_out"]).details())
    return problem_response(Refusal("bad_request", _sentence(error.errors())).details())


async def _framework(request: Request, error: HTTPException) -> Response:
    code = _CODES.get(error.status_code, "bad_request")
    detail = {
        "not_found": f"There is nothing at {request.url.path[:200]}.",
        "method_not_allowed": f"{request.method} is not possible at {request.url.path[:200]}.",
    }.get(code, f"{error.detail}.")
    headers = {"Allow": error.headers["Allow"]} if error.headers and "Allow" in error.headers else None
    return problem_response(Refusal(code, detail).details(), headers)


async def _broken(request: Request, error: Exception) -> Response:
    # Starlette raises the error again after this answer, so that the log has its traceback.
    detail = f"{request.method} {request.url.path[:200]} failed with {type(error).__name__}."
    return problem_response(Refusal("internal", detail).details())


def _sentence(errors: Any) -> str:
    said = [_one(error) for error in errors[:_SHOWN]]
    more = f" And {len(errors) - _SHOWN} more." if len(errors) > _SHOWN else ""
    return " ".join(said) + more


def _one(error: dict[str, Any]) -> str:
    if error["type"] == "json_invalid":
        return f"The body is no JSON: {error['ctx']['error']} at character {error['loc'][-1]}."
    where = _where(error["loc"])
    if error["type"].startswith("union_tag"):  # the field that says which of the union it is
        where = ".".join(filter(None, (where, error["ctx"]["discriminator"].strip("'"))))
    if error["type"] == "missing" and where == "":
        return "The body is missing."
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{where or 'The body'}: {message[:1].lower() + message[1:300]}."


def _where(loc: tuple[str | int, ...]) -> str:
    path, last = "", ""
    for part in loc[1:] if loc and loc[0] in _PLACES else loc:
        if isinstance(part, int):
            path += f"[{part}]"
            continue
        if part not in _TAGS.get(last, ()):
            path += f".{part[:60]}" if path else part[:60]
        last = part
    return path
