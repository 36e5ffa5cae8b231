"""How prompts will be read: tokens, roles, answers. Parses and tokenises, runs no model."""

from __future__ import annotations

from fastapi import APIRouter

from backend.context import Ctx
from backend.problems import documented
from backend.submission import usable_model
from contracts.prompts import Preview, PreviewRequest
from prompts import preview

router = APIRouter(prefix="/api/prompts", tags=["prompts"])


@router.post("/preview", responses=documented(401, 403, 404, 413, 415, 422, 503))
def preview_prompts(asked: PreviewRequest, ctx: Ctx) -> Preview:
    """The tokens of every prompt as the model reads them. A pair that cannot run says its ``problem``."""
    card = usable_model(ctx, asked.model)
    chat = ctx.vocabularies.chat_of(card) if asked.prompts.chat else None
    return preview(asked.prompts, ctx.vocabularies.of(card), chat)
