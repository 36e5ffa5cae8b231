"""Draws a set of prompt pairs from templates: without replacement, the same for the same seed.

The draw goes round operations and styles in turn, so that none crowds out another, and round the wordings of each.
Each template has its own random order, which depends on the seed and its text alone: a longer set begins with the
shorter one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from tokenizers import Tokenizer

from contracts.errors import Refusal
from contracts.models import ChatFrame
from contracts.prompts import PromptPair, TemplatePrompts
from prompts.arithmetic import read
from prompts.corruptions import corrupt
from prompts.shots import SHOT_OPERANDS, shot_prefix
from prompts.templates import TEMPLATES, Questions, Template, in_random_order
from prompts.tokens import encode_pair, number_token_values

Item = TypeVar("Item")

# Operands of a question that is no worked example and that every operation can answer.
_NEUTRAL_OPERANDS = (12, 1)


@dataclass(frozen=True, slots=True)
class Drawn:
    """The pairs in the order drawn; ``n_distinct`` questions exist within the limits of the set."""

    pairs: tuple[PromptPair, ...]
    n_distinct: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Pool:
    """What one template offers: its questions, less those that its worked examples answer."""

    template: Template
    prefix: str
    questions: Questions
    shots: Collection[tuple[int, int]]

    def __len__(self) -> int:
        return len(self.questions) - sum(shot in self.questions for shot in self.shots)

    def in_order(self, seed: int) -> Iterator[tuple[_Pool, int, int]]:
        for number in in_random_order(len(self.questions), Random(f"{seed} {self.template.text}")):
            a, b = self.questions[number]
            if (a, b) not in self.shots:
                yield self, a, b


def draw(
    spec: TemplatePrompts, tokenizer: Tokenizer, frame: ChatFrame | None = None, at_most: int | None = None
) -> Drawn:
    """The set's pairs, or its first ``at_most``. Fewer than asked for is a note; none at all is refused.

    ``frame``: what the model's chat template writes around a prompt, for a set of chat prompts.
    """
    pools = _pools(spec, tokenizer, frame)
    n_distinct = sum(len(pool) for pool in pools)
    if n_distinct == 0:
        low, high = spec.operands
        raise Refusal(
            "no_prompts",
            f"No {' or '.join(spec.operations)} question with operands from {low} to {high} has an answer of one "
            "token for this model.",
        )
    wanted = spec.pairs if at_most is None else min(spec.pairs, at_most)
    cells: dict[tuple[str, str], list[Iterator[tuple[_Pool, int, int]]]] = {}
    for pool in pools:
        cells.setdefault((pool.template.operation, pool.template.style), []).append(pool.in_order(spec.seed))
    pairs: list[PromptPair] = []
    left_out = 0
    for pool, a, b in _in_turn(_in_turn(cell) for cell in cells.values()):
        if len(pairs) == wanted:
            break
        pair = _pair(spec, pool, a, b, tokenizer)
        if pair is None:
            left_out += 1
        else:
            pairs.append(pair)
    if not pairs:
        raise Refusal("no_counterfactual", f"No question of this set has a counterfactual by {spec.corruption}.")
    n_distinct -= left_out
    notes: list[str] = []
    if left_out:
        notes.append(f"Questions left out because they have no counterfactual by {spec.corruption}: {left_out}.")
    if n_distinct < spec.pairs:
        notes.append(f"{n_distinct} of the {spec.pairs} pairs asked for exist.")
    return Drawn(tuple(pairs), n_distinct, tuple(notes))


def _pools(spec: TemplatePrompts, tokenizer: Tokenizer, frame: ChatFrame | None) -> list[_Pool]:
    numbers = sorted(set(number_token_values(tokenizer).values()))
    answers: dict[str, tuple[int, ...]] = {}
    offered: dict[tuple[str, tuple[int, ...]], Questions] = {}
    pools: list[_Pool] = []
    for template in TEMPLATES:
        if template.operation not in spec.operations or template.style not in spec.styles:
            continue
        ending = template.text.partition("{b}")[2]
        if ending not in answers:
            answers[ending] = _answers_of_one_token(template, numbers, tokenizer, frame)
        key = (template.operation, answers[ending])
        if key not in offered:
            offered[key] = Questions(template.operation, spec.operands, answers[ending])
        neutral = template.question(*_NEUTRAL_OPERANDS)
        pools.append(
            _Pool(
                template,
                shot_prefix(neutral, read(neutral), spec.shots),
                offered[key],
                SHOT_OPERANDS[template.operation][: spec.shots],
            )
        )
    return pools


def _answers_of_one_token(
    template: Template, numbers: Iterable[int], tokenizer: Tokenizer, frame: ChatFrame | None
) -> tuple[int, ...]:
    """The numbers that are one token after this template's ending."""
    question = template.question(*_NEUTRAL_OPERANDS)
    answers: list[int] = []
    for number in numbers:
        try:
            encode_pair(PromptPair(question, question, str(number), frame is not None), tokenizer, frame)
        except Refusal as refusal:
            if refusal.code == "prompt_too_long":  # every number is: what is wrong is the template, not the answer
                raise
            continue
        answers.append(number)
    return tuple(answers)


def _pair(spec: TemplatePrompts, pool: _Pool, a: int, b: int, tokenizer: Tokenizer) -> PromptPair | None:
    reference = pool.prefix + pool.template.question(a, b)
    reading = read(reference)
    if reading is None:
        raise ValueError(f"the template {pool.template.text!r} cannot be read back with {a} and {b}")
    counterfactual = corrupt(spec.corruption, reference, spec.seed, tokenizer, spec.operands)
    return None if counterfactual is None else PromptPair(reference, counterfactual, reading.answer, spec.chat)


def _in_turn(sources: Iterable[Iterator[Item]]) -> Iterator[Item]:
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
