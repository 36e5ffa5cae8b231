"""Drawing of prompt pairs from templates: without replacement, reproducible by seed.

The draw takes operations and styles in turn, so that none crowds out another, and the wordings of each in turn. Each
template has its own random order, which depends on the seed and its text alone: a longer set begins with the shorter
one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from tokenizers import Tokenizer

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.models import ChatFrame
from arithmoscope.contracts.prompts import PromptPair, TemplatePrompts
from arithmoscope.prompts.language.corruptions import corrupt
from arithmoscope.prompts.language.parse_question import parse_question
from arithmoscope.prompts.language.relation_facts import FRAMES
from arithmoscope.prompts.sets.candidate_pools import candidate_pools
from arithmoscope.prompts.sets.topics import refuse_impossible_set
from arithmoscope.prompts.tokens.encoded import can_answer

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Drawn:
    """The pairs in the order drawn; ``n_distinct`` counts all questions within the limits of the set."""

    pairs: tuple[PromptPair, ...]
    n_distinct: int
    notes: tuple[str, ...]


def draw(
    spec: TemplatePrompts, tokenizer: Tokenizer, frame: ChatFrame | None = None, at_most: int | None = None
) -> Drawn:
    """The set's pairs, or its first ``at_most``. A set with fewer pairs than ``spec.pairs`` gets a note.

    ``frame``: the text that the model's chat template puts around turns, for a set of chat prompts.

    Raises:
        Refusal: ``impossible_options``, or ``no_prompts``, ``answer_not_a_token`` or ``no_counterfactual`` if no pair
            is left.
    """
    refuse_impossible_set(spec)
    pools = candidate_pools(spec, tokenizer, frame)
    n_distinct = sum(len(pool) for pool in pools)
    if n_distinct == 0:
        has = "has an answer of one token for this model" if spec.answer == "whole" else "has an answer"
        raise Refusal("no_prompts", f"No {_described(spec)} {has}.")
    n_pairs = spec.pairs if at_most is None else min(spec.pairs, at_most)
    cells: dict[tuple[str, str], list[Iterator[str]]] = {}
    for pool in pools:
        cells.setdefault(pool.cell, []).append(pool.references(spec.seed))
    pairs: list[PromptPair] = []
    left_out = no_token = 0
    for reference in _round_robin(_round_robin(cell) for cell in cells.values()):
        if len(pairs) == n_pairs:
            break
        pair = _pair(spec, reference, tokenizer)
        if pair is None:
            left_out += 1
        elif spec.answer != "whole" and not can_answer(pair, tokenizer, frame, spec.answer):
            no_token += 1
        else:
            pairs.append(pair)
    if not pairs and no_token:
        raise Refusal(
            "answer_not_a_token", "No answer of this set starts at a token boundary of this model's tokenizer."
        )
    if not pairs:
        raise Refusal("no_counterfactual", f"No question of this set has a counterfactual by {spec.corruption}.")
    n_distinct -= left_out + no_token
    notes: list[str] = []
    if left_out:
        notes.append(f"Questions left out because they have no counterfactual by {spec.corruption}: {left_out}.")
    if no_token:
        notes.append(f"Questions left out because their answer does not begin at a token: {no_token}.")
    if not all(pool.counted for pool in pools):
        notes.append(f"About {n_distinct} questions fall in this half (an estimate: there are too many to count).")
    if n_distinct < spec.pairs:
        notes.append(f"{n_distinct} of the {spec.pairs} pairs asked for exist.")
    return Drawn(tuple(pairs), n_distinct, tuple(notes))


def _described(spec: TemplatePrompts) -> str:
    half = f" of the {spec.half} half" if spec.half else ""
    if spec.topic in FRAMES:
        return f"question about {spec.topic}{half}"
    low, high = spec.operands
    return f"{' or '.join(spec.operations)} question{half} with operands from {low} to {high}"


def _pair(spec: TemplatePrompts, reference: str, tokenizer: Tokenizer) -> PromptPair | None:
    reading = parse_question(reference)
    if reading is None:
        raise ValueError(f"{reference!r} cannot be read back")
    counterfactual = corrupt(spec.corruption, reference, spec.seed, tokenizer, spec.operands)
    return None if counterfactual is None else PromptPair(reference, counterfactual, reading.answer, spec.chat)


def _round_robin(sources: Iterable[Iterator[Item]]) -> Iterator[Item]:
    """One item of each source in turn, until all are exhausted."""
    waiting = list(sources)
    while waiting:
        still: list[Iterator[Item]] = []
        for source in waiting:
            for item in source:
                yield item
                still.append(source)
                break
        waiting = still
