"""Checks of a fine-tuning."""

from __future__ import annotations

from arithmoscope.checks.prompt_reader import Analysis, PromptReader, refuse_missing_components
from arithmoscope.contracts.kinds import FineTuneSpec
from arithmoscope.contracts.models import ModelCard
from arithmoscope.contracts.prompts import PromptsSpec
from arithmoscope.prompts.sets.dataset_splits import split_dataset


def check_spec(spec: FineTuneSpec, card: ModelCard, _analysis: Analysis | None, _dtype: str) -> None:
    """Raises Refusal if the model lacks a component."""
    refuse_missing_components(card, spec.components)


def sets_read(spec: FineTuneSpec, _analysis: Analysis | None) -> tuple[PromptsSpec, ...]:
    """The questions, and the validation and test sets if they are given."""
    return tuple(prompts for prompts in (spec.prompts, spec.validation, spec.test) if prompts is not None)


def check_prompts(spec: FineTuneSpec, _analysis: Analysis | None, reader: PromptReader) -> None:
    """Raises Refusal if a question cannot be read, or if the three sets cannot be made without shared operands."""
    split_dataset(spec, reader.tokenizer, reader.chat)
