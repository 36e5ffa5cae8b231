"""Route that previews a fine-tuning: parameters trained and data split. It runs no model and loads no weights."""

from __future__ import annotations

from fastapi import APIRouter

from arithmoscope.contracts.kinds.fine_tune import FineTuneSpec
from arithmoscope.contracts.tuning_results import TuningPreview
from arithmoscope.contracts.tuning_terms import Tuner
from arithmoscope.prompts.sets.dataset_splits import overlap_notes, split_dataset
from arithmoscope.prompts.sets.default_shots import with_defaults_everywhere
from arithmoscope_api.context import Ctx
from arithmoscope_api.http.problems import problem_responses
from arithmoscope_api.trainable import trainable_parameters
from arithmoscope_api.validation import analysis_spec, resolve_spec

router = APIRouter(prefix="/api/tuning", tags=["tuning"])

_NOTES: dict[Tuner, str] = {
    "random": "The random components used instead are drawn at run time; the number of parameters may differ slightly.",
    "lora": "The rank is chosen so that about the same number of parameters is trained.",
}


@router.post("/preview", responses=problem_responses(401, 403, 404, 409, 413, 415, 422, 503))
def preview_tuning(spec: FineTuneSpec, ctx: Ctx) -> TuningPreview:
    """Returns the number of parameters that would be trained, the other heads that would change, and the split of the
    questions into three sets that share no operands. Returns the same errors as `POST /api/experiments`.
    """
    resolved = resolve_spec(ctx, spec)
    spec = with_defaults_everywhere(spec, resolved.card)
    tokenizer = ctx.tokenizers.get(resolved.card)
    splits = split_dataset(spec, tokenizer, resolved.chat_template(ctx))
    notes = list(splits.notes)
    if spec.parent is not None:
        analysed = analysis_spec(ctx, spec.parent).prompts
        chat = ctx.tokenizers.chat_template(resolved.card) if analysed.chat else None
        notes += overlap_notes(splits, analysed, tokenizer, chat)
    if spec.tuner in _NOTES:
        notes.append(_NOTES[spec.tuner])
    return TuningPreview(
        tunable=trainable_parameters(resolved.card, spec, ctx.config.dtype), split=splits.split, notes=tuple(notes)
    )
