"""What a fine-tuning would train, before it is asked for. Runs no model and loads no weights."""

from __future__ import annotations

from fastapi import APIRouter

from arithmoscope.contracts.specs import FineTuneSpec
from arithmoscope.contracts.tuning_results import TuningPreview
from arithmoscope.contracts.tuning_terms import Tuner
from arithmoscope.prompts.sets.dataset_splits import overlap_notes, split_dataset
from arithmoscope_api.context import Ctx
from arithmoscope_api.http.problems import documented
from arithmoscope_api.trainable import tunable_of
from arithmoscope_api.validation import analysis_of, question_of

router = APIRouter(prefix="/api/tuning", tags=["tuning"])

_SAID: dict[Tuner, str] = {
    "random": "Which components stand in for these is drawn when it runs; they may come to a little more or less.",
    "lora": "The rank is chosen so that about as many numbers are trained.",
}


@router.post("/preview", responses=documented(401, 403, 404, 409, 413, 415, 422, 503))
def preview_tuning(spec: FineTuneSpec, ctx: Ctx) -> TuningPreview:
    """How many numbers would be trained, which other heads would change, and how the questions are split: into three
    sets that share no operands. Refuses what `POST /api/experiments` would refuse."""
    question = question_of(ctx, spec)
    tokenizer = ctx.vocabularies.of(question.card)
    lessons = split_dataset(spec, tokenizer, question.chat(ctx))
    notes = list(lessons.notes)
    if spec.parent is not None:
        analysed = analysis_of(ctx, spec.parent).prompts
        chat = ctx.vocabularies.chat_of(question.card) if analysed.chat else None
        notes += overlap_notes(lessons, analysed, tokenizer, chat)
    if spec.tuner in _SAID:
        notes.append(_SAID[spec.tuner])
    return TuningPreview(
        tunable=tunable_of(question.card, spec, ctx.config.dtype), split=lessons.split, notes=tuple(notes)
    )
