"""How prompts will be read: tokens, roles, answers. Parses and tokenises, runs no model."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from arithmoscope.contracts.prompts import Preview, PreviewRequest, Upload
from arithmoscope.prompts import preview
from arithmoscope.prompts.sets.uploads import FORMATS, read_upload
from arithmoscope_api.context import Ctx
from arithmoscope_api.http.problems import documented
from arithmoscope_api.validation import usable_model

router = APIRouter(prefix="/api/prompts", tags=["prompts"])


@router.post("/preview", responses=documented(401, 403, 404, 413, 415, 422, 503))
def preview_prompts(asked: PreviewRequest, ctx: Ctx) -> Preview:
    """The tokens of every prompt as the model reads them. A pair that cannot run says its ``problem``."""
    card = usable_model(ctx, asked.model)
    chat = ctx.vocabularies.chat_of(card) if asked.prompts.chat else None
    return preview(asked.prompts, ctx.vocabularies.of(card), chat)


UPLOAD = "/upload"
# What the door lets through to it, where it lets only JSON through to others.
FILES = {f"{router.prefix}{UPLOAD}": frozenset(FORMATS)}
_FILE = {"content": {media_type: {"schema": {"type": "string"}} for media_type in FORMATS}, "required": True}


@router.post(UPLOAD, responses=documented(401, 403, 413, 415, 422), openapi_extra={"requestBody": _FILE})
async def upload_prompts(request: Request) -> Upload:
    """The pairs of a file, sent as it is: CSV with the columns `reference` and, if you like, `counterfactual` and
    `answer`, or JSON lines with these keys. A row that cannot be used is among the `problems`; of more than 10 000
    that can be used the first are kept."""
    media_type = request.headers.get("content-type", "text/csv").split(";")[0].strip().lower()
    return await run_in_threadpool(read_upload, await request.body(), FORMATS.get(media_type, "csv"))
