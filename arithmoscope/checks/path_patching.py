"""Checks of an analysis."""

from __future__ import annotations

from arithmoscope.checks.prompt_reader import Analysis, PromptReader
from arithmoscope.contracts.kinds import PathPatchingSpec
from arithmoscope.contracts.models import ModelCard
from arithmoscope.contracts.prompts import PromptsSpec
from arithmoscope.prompts import refuse_unequal_lengths


def check_spec(_spec: PathPatchingSpec, _card: ModelCard, _analysis: Analysis | None, _dtype: str) -> None:
    """Any supported model can be analysed: the spec refuses impossible options itself."""


def sets_read(spec: PathPatchingSpec, _analysis: Analysis | None) -> tuple[PromptsSpec, ...]:
    """The analysed prompts."""
    return (spec.prompts,)


def check_prompts(spec: PathPatchingSpec, _analysis: Analysis | None, reader: PromptReader) -> None:
    """Raises Refusal if a prompt cannot be read, or if pairs have lengths that the options do not allow."""
    refuse_unequal_lengths(reader.pairs(spec.prompts), spec.positions, spec.source)
