"""Routes that show how prompts will be read: tokens, roles, answers. They parse and tokenise, and run no model."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from arithmoscope.contracts.prompts import Preview, PreviewRequest, Upload
from arithmoscope.prompts import preview
from arithmoscope.prompts.sets.default_shots import with_model_defaults
from arithmoscope.prompts.sets.uploads import FORMATS, read_upload
from arithmoscope_api.context import Ctx
from arithmoscope_api.http.problems import problem_responses
from arithmoscope_api.validation import usable_model

router = APIRouter(prefix="/api/prompts", tags=["prompts"])


@router.post("/preview", responses=problem_responses(401, 403, 404, 413, 415, 422, 503))
def preview_prompts(request: PreviewRequest, ctx: Ctx) -> Preview:
    """Returns the tokens of every prompt as the model reads them. A pair that cannot run has a `problem`."""
    card = usable_model(ctx, request.model)
    chat = ctx.tokenizers.chat_template(card) if request.prompts.chat else None
    return preview(with_model_defaults(request.prompts, card), ctx.tokenizers.get(card), chat)


UPLOAD = "/upload"
# Media types that an upload accepts; all other routes accept JSON only.
UPLOAD_TYPES = {f"{router.prefix}{UPLOAD}": frozenset(FORMATS)}
_FILE = {"content": {media_type: {"schema": {"type": "string"}} for media_type in FORMATS}, "required": True}


@router.post(UPLOAD, responses=problem_responses(401, 403, 413, 415, 422), openapi_extra={"requestBody": _FILE})
async def upload_prompts(request: Request) -> Upload:
    """Returns the prompt pairs of a file.

    Send the file as the body: CSV with the column `reference` and, optionally, `counterfactual` and `answer`, or JSON
    lines with these keys. Invalid rows are listed in `problems`; of the valid ones the first 10,000 are returned.
    """
    media_type = request.headers.get("content-type", "text/csv").split(";")[0].strip().lower()
    return await run_in_threadpool(read_upload, await request.body(), FORMATS.get(media_type, "csv"))
