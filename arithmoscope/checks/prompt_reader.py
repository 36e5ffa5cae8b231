"""Prompt sets as a model's tokenizer reads them, each prepared once, and checks that several kinds share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field

from tokenizers import Tokenizer

from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.kinds import PathPatchingSpec
from arithmoscope.contracts.kinds.knockout import REPLACEMENT_EXCLUSIONS
from arithmoscope.contracts.knockout_terms import Ablation, KnockPositions
from arithmoscope.contracts.models import ModelCard
from arithmoscope.contracts.options import refuse_excluded
from arithmoscope.contracts.prompts import PromptsSpec
from arithmoscope.prompts import ChatFrame, EncodedPair, prepare


@dataclass(frozen=True, slots=True)
class Analysis:
    """The analysis that an experiment builds on: its spec, and the revision of the model that answered it."""

    spec: PathPatchingSpec
    revision: str


@dataclass(frozen=True, slots=True)
class PromptReader:
    """Prepares prompt sets. ``chat``: the model's chat template, which only sets with ``chat`` use."""

    tokenizer: Tokenizer
    chat: ChatFrame | None
    _encoded: dict[PromptsSpec, tuple[EncodedPair, ...]] = field(
        default_factory=dict[PromptsSpec, tuple[EncodedPair, ...]]
    )

    def pairs(self, prompts: PromptsSpec) -> tuple[EncodedPair, ...]:
        """The encoded pairs of a set. Raises Refusal if one cannot be read."""
        if prompts not in self._encoded:
            self._encoded[prompts] = prepare(prompts, self.tokenizer, self.chat if prompts.chat else None).pairs
        return self._encoded[prompts]


def refuse_missing_components(card: ModelCard, components: Iterable[str]) -> None:
    """Raises Refusal (``bad_component``) if a model lacks one of the components."""
    for name in components:
        component = Component.parse(name)
        if component.layer >= card.layers or (component.head or 0) >= card.heads:
            raise Refusal(
                "bad_component", f"There is no {name}; the model has {card.layers} layers of {card.heads} heads."
            )


def refuse_single_prompt(
    pairs: Sequence[EncodedPair], ablation: Ablation, positions: KnockPositions, subject: str
) -> None:
    """Raises Refusal (``impossible_options``) if a prompt has no other to be averaged with or replaced by.

    Position by position, the other prompt must have the same length.
    """
    prompts_by_length: dict[int, set[Hashable]] = defaultdict(set)
    for pair in pairs:
        length = 0 if positions == "end" else len(pair.reference_ids)
        prompts_by_length[length].add(pair.question if ablation == "resample" else pair.reference_ids)
    for length, distinct in prompts_by_length.items():
        of_length, same_length = (f" of {length} tokens", " of the same length") if length else ("", "")
        facts = {"subject": subject, "of_length": of_length, "same_length": same_length}
        refuse_excluded(REPLACEMENT_EXCLUSIONS, {"ablation": ablation, "several_prompts": len(distinct) > 1, **facts})
