"""Checks of a transfer."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from arithmoscope.checks.prompt_reader import Analysis, PromptReader, refuse_single_prompt
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.kinds import TransferSpec
from arithmoscope.contracts.models import ModelCard
from arithmoscope.contracts.prompts import PromptsSpec
from arithmoscope.prompts.sets.labels import labels_of
from arithmoscope.prompts.sets.operand_split import on_first_side
from arithmoscope.prompts.sets.prompt_sets import refuse_too_many


def check_spec(_spec: TransferSpec, _card: ModelCard, _analysis: Analysis | None, _dtype: str) -> None:
    """Heads can be found in any supported model."""


def sets_read(spec: TransferSpec, _analysis: Analysis | None) -> tuple[PromptsSpec, ...]:
    """The sets that heads are found on, and those they are knocked out on."""
    return (*spec.found_on, *spec.evaluated_on)


def check_prompts(spec: TransferSpec, _analysis: Analysis | None, reader: PromptReader) -> None:
    """Raises Refusal, with the name of the set, if a set has no pairs on its side of the split, if there are too many
    pairs, or if a prompt has no other to be replaced by."""
    names = labels_of((*spec.found_on, *spec.evaluated_on))
    sizes: dict[PromptsSpec, int] = {}
    for sets, first in ((spec.found_on, True), (spec.evaluated_on, False)):
        for prompts in sets:
            with _naming(names[prompts]):
                all_pairs = reader.pairs(prompts)
                sizes[prompts] = len(all_pairs)
                refuse_too_many(sum(sizes.values()))
            pairs = [pair for pair in all_pairs if not spec.disjoint or on_first_side(pair.pair) == first]
            if not pairs:
                purpose = "to find components on" if first else "to evaluate them on"
                raise Refusal(
                    "no_prompts",
                    f"Split by operands, the set {names[prompts]!r} has no pairs left {purpose}.",
                    "Use more pairs or a wider range of operands, or turn 'disjoint' off.",
                )
            # If a set is split, its mean is over the other half.
            if not first and not (spec.ablation == "mean" and spec.disjoint and len(pairs) < len(all_pairs)):
                refuse_single_prompt(pairs, spec.ablation, "end", f"The set {names[prompts]!r}")


@contextmanager
def _naming(label: str) -> Generator[None]:
    """Adds the name of the set to a refusal raised inside."""
    try:
        yield
    except Refusal as refusal:
        raise Refusal(refusal.code, f"Set {label!r}: {refusal.detail}", refusal.way_out) from refusal
