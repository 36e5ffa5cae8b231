"""Checks of a fine-tuning."""

from __future__ import annotations

from arithmoscope.checks.prompt_reader import Analysis, PromptReader, refuse_missing_components
from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.kinds import FineTuneSpec
from arithmoscope.contracts.models import MAX_MODEL_ID, ModelCard, tuned_model_id
from arithmoscope.contracts.prompts import PromptsSpec
from arithmoscope.contracts.trainable import refuse_offsets_of_mlps, refuse_untrainable
from arithmoscope.prompts.sets.dataset_splits import split_dataset


def check_spec(spec: FineTuneSpec, card: ModelCard, _analysis: Analysis | None, dtype: str) -> None:
    """Raises Refusal if the model lacks a component or offsets are to be trained on an MLP (``bad_component``), if
    weights of this data type cannot be trained (``bad_setting``), or if the id of the tuned model would be too long
    (``impossible_options``)."""
    refuse_missing_components(card, spec.components)
    refuse_untrainable(dtype, "Set ARITHMOSCOPE_DTYPE=bfloat16 or float32 where the model runs.")
    if spec.tuner == "offsets":
        refuse_offsets_of_mlps(map(Component.parse, spec.components))
    if len(tuned_model_id(card.id, "an experiment's id")) > MAX_MODEL_ID:
        raise Refusal(
            "impossible_options",
            "This model has been tuned many times, and the id of the next tuned model would be too long.",
            "Tune one of the models it was tuned from, or export it under a short name into MODELS_DIR.",
        )


def sets_read(spec: FineTuneSpec, _analysis: Analysis | None) -> tuple[PromptsSpec, ...]:
    """The questions, and the validation and test sets if they are given."""
    return tuple(prompts for prompts in (spec.prompts, spec.validation, spec.test) if prompts is not None)


def check_prompts(spec: FineTuneSpec, _analysis: Analysis | None, reader: PromptReader) -> None:
    """Raises Refusal if a question cannot be read, or if the three sets cannot be made without shared operands."""
    split_dataset(spec, reader.tokenizer, reader.chat)
