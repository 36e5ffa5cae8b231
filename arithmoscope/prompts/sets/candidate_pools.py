"""Candidate questions of a template set: one pool per wording, counted and in random order, without the shots."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Protocol

from tokenizers import Tokenizer

from arithmoscope.contracts.models import ChatFrame
from arithmoscope.contracts.prompts import Half, PromptPair, TemplatePrompts
from arithmoscope.prompts.language.numerals import Number, in_digits, in_words
from arithmoscope.prompts.language.parse_question import parse_question
from arithmoscope.prompts.language.question_operands import format_operands
from arithmoscope.prompts.language.readings import Reading
from arithmoscope.prompts.language.relation_facts import FRAMES
from arithmoscope.prompts.language.relations import read_recall, recall_items, recall_question
from arithmoscope.prompts.language.stories import stories
from arithmoscope.prompts.language.templates import TEMPLATES, Questions, Template, in_random_order
from arithmoscope.prompts.language.wordings import VARIED
from arithmoscope.prompts.language.years import YearSpans, stem_of, year_spans
from arithmoscope.prompts.sets.extra_questions import MAX_ANSWER, ExtraQuestions
from arithmoscope.prompts.sets.shots import example_operands, shot_prefix
from arithmoscope.prompts.sets.split_half import MOST_COUNTED, count_in_half, is_in_half
from arithmoscope.prompts.tokens.encoded import can_answer, number_token_values

# Operands of a placeholder question: not a worked example, and exact for every operation.
_NEUTRAL_OPERANDS = (12, 1)
_NEUTRAL_DECIMALS = ("", "12.5", "12.25")
_NEUTRAL_YEAR = (1, 1234)
# Number of plain story wordings per operation.
_PLAIN_STORIES = 3
# Answers in words are tried below this number: larger ones are never a single token.
_MOST_IN_WORDS = 100


class Pool(Protocol):
    """The questions of one wording. A set draws from its cells (``cell``) in turn. ``counted``: the length is exact."""

    @property
    def cell(self) -> tuple[str, str]: ...

    @property
    def counted(self) -> bool: ...

    def __len__(self) -> int: ...

    def references(self, seed: int) -> Iterator[str]:
        """Prompts with their worked examples, each question once, in an order fixed by the seed."""
        ...


@dataclass(frozen=True, slots=True)
class _CalculationPool:
    """The questions of one template: ``n_in_half`` of them fall in the half, minus those shown as worked examples."""

    template: Template
    prefix: str
    questions: Questions | ExtraQuestions | YearSpans
    shots: Collection[tuple[Number, Number]]
    words: bool
    places: int
    tail: int | None
    half: Half | None
    n_in_half: int

    @property
    def cell(self) -> tuple[str, str]:
        return self.template.operation, self.template.style

    @property
    def counted(self) -> bool:
        return self.half is None or len(self.questions) <= MOST_COUNTED

    def __len__(self) -> int:
        shown = sum(shot in self.questions and is_in_half(self.half, format_operands(shot)) for shot in self.shots)
        return self.n_in_half - shown

    def references(self, seed: int) -> Iterator[str]:
        for number in in_random_order(len(self.questions), Random(f"{seed} {self.template.text}")):
            a, b = self.questions[number]
            if (a, b) not in self.shots and is_in_half(self.half, format_operands((a, b))):
                stem = "" if self.tail is None else stem_of(self.template.operation, int(a), int(b), self.tail)
                question = self.template.question(self._written(a, first=True), self._written(b), stem)
                yield self.prefix + question.rstrip()

    def _written(self, number: Number, *, first: bool = False) -> str:
        if self.words and isinstance(number, int):
            return in_words(number, linked=False)
        both = self.template.operation in ("add", "subtract")
        return in_digits(number, self.places if first or both else 0)


@dataclass(frozen=True, slots=True)
class _RecallPool:
    """The questions about one relation in one wording."""

    frame: str
    relation: str
    prompts: tuple[str, ...]

    @property
    def cell(self) -> tuple[str, str]:
        return self.relation, ""

    @property
    def counted(self) -> bool:
        return True

    def __len__(self) -> int:
        return len(self.prompts)

    def references(self, seed: int) -> Iterator[str]:
        for number in in_random_order(len(self.prompts), Random(f"{seed} {self.relation} {self.frame}")):
            yield self.prompts[number]


def candidate_pools(spec: TemplatePrompts, tokenizer: Tokenizer, frame: ChatFrame | None) -> list[Pool]:
    """One pool for every wording that the set may use, in the order of the tables."""
    if spec.topic in FRAMES:
        return list(_recall_pools(spec, tokenizer, frame))
    if spec.topic == "year_span":
        return list(_year_pools(spec, tokenizer, frame))
    return list(_calculation_pools(spec, tokenizer, frame))


def _templates(spec: TemplatePrompts) -> Iterator[Template]:
    if spec.topic == "question":
        for template in (*TEMPLATES, *VARIED) if spec.wording == "varied" else TEMPLATES:
            # "twenty-three" is not 20 - 3: numbers in words need space around the operator.
            compact = spec.numerals == "words" and " " not in template.text
            if template.operation in spec.operations and template.style in spec.styles and not compact:
                yield template
        return
    used: dict[str, int] = {}
    for story in stories():
        operation = story.template.operation
        if story.topic != spec.topic or operation not in spec.operations:
            continue
        used[operation] = used.get(operation, 0) + 1
        if spec.wording == "varied" or used[operation] <= _PLAIN_STORIES:
            yield story.template


def _calculation_pools(spec: TemplatePrompts, tokenizer: Tokenizer, frame: ChatFrame | None) -> Iterator[Pool]:
    words = spec.numerals == "words"
    candidates = range(_MOST_IN_WORDS) if words else sorted(set(number_token_values(tokenizer).values()))
    numbers = [number for number in candidates if number <= _largest_answer(spec)]
    answers: dict[str, tuple[int, ...] | None] = {}
    counted: dict[tuple[str, tuple[int, ...] | None], tuple[Questions | ExtraQuestions, int]] = {}
    for template in _templates(spec):
        ending = template.ending
        if ending not in answers:
            one_token = spec.answer == "whole"
            answers[ending] = _answers_of_one_token(template, numbers, tokenizer, frame, words) if one_token else None
        key = (template.operation, answers[ending])
        if key not in counted:
            questions = _questions(spec, template, answers[ending])
            counted[key] = questions, count_in_half(spec.half, questions)
        neutral = _neutral(template, words, spec.decimals)
        reading = parse_question(neutral)
        if not isinstance(reading, Reading):
            raise ValueError(f"the template {template.text!r} cannot be read back")
        shots = example_operands(reading)[: spec.shots]
        prefix = shot_prefix(neutral, reading, spec.shots)
        questions, in_half = counted[key]
        yield _CalculationPool(template, prefix, questions, shots, words, spec.decimals, None, spec.half, in_half)


def _questions(
    spec: TemplatePrompts, template: Template, answers: tuple[int, ...] | None
) -> Questions | ExtraQuestions:
    if answers is not None and spec.decimals == 0 and template.operation != "power":
        return Questions(template.operation, spec.operands, answers)
    return ExtraQuestions(template.operation, spec.operands, answers, spec.decimals)


def _largest_answer(spec: TemplatePrompts) -> int:
    """An upper bound of the answers: it saves tokenising up to a thousand numbers of the vocabulary."""
    high = spec.operands[1]
    if "power" in spec.operations:
        return MAX_ANSWER
    return high * high + high if "multiply" in spec.operations else 2 * high


def _neutral(template: Template, words: bool, decimals: int) -> str:
    a, b = _NEUTRAL_OPERANDS
    if words:
        return template.question(in_words(a), in_words(b))
    both = template.operation in ("add", "subtract")
    return template.question(_NEUTRAL_DECIMALS[decimals] or a, in_digits(b, decimals if both else 0))


def _answers_of_one_token(
    template: Template, numbers: Iterable[int], tokenizer: Tokenizer, frame: ChatFrame | None, words: bool
) -> tuple[int, ...]:
    """The numbers that are a single token after this template's ending."""
    question = template.question(*_NEUTRAL_OPERANDS)
    return tuple(
        number
        for number in numbers
        if can_answer(
            PromptPair(question, question, in_words(number) if words else str(number), frame is not None),
            tokenizer,
            frame,
        )
    )


def _year_pools(spec: TemplatePrompts, tokenizer: Tokenizer, frame: ChatFrame | None) -> Iterator[Pool]:
    counted: dict[tuple[str, int], int] = {}
    for template in _templates(spec):
        # The fewest missing digits that leave room for the span and give an answer in this vocabulary.
        for tail in range(min(4, len(str(spec.operands[0]))), 5):
            questions = year_spans(template.operation, spec.operands, tail)
            span, year = _NEUTRAL_YEAR
            stem = stem_of(template.operation, span, year, tail)
            neutral = template.question(span, year, stem).rstrip()
            reading = parse_question(neutral)
            if not isinstance(reading, Reading):
                raise ValueError(f"the story {template.text!r} cannot be read back")
            pair = PromptPair(neutral, neutral, reading.answer, frame is not None)
            if len(questions) and can_answer(pair, tokenizer, frame, spec.answer):
                shots = [(span, year) for year, span in example_operands(reading)[: spec.shots]]
                prefix = shot_prefix(neutral, reading, spec.shots)
                key = (template.operation, tail)
                if key not in counted:
                    counted[key] = count_in_half(spec.half, questions)
                yield _CalculationPool(template, prefix, questions, shots, False, 0, tail, spec.half, counted[key])
                break


def _recall_pools(spec: TemplatePrompts, tokenizer: Tokenizer, frame: ChatFrame | None) -> Iterator[Pool]:
    frames = FRAMES[spec.topic] if spec.wording == "varied" else FRAMES[spec.topic][:1]
    for wording in frames:
        by_relation: dict[str, list[str]] = {}
        for relation, subject in recall_items(spec.topic):
            question = recall_question(spec.topic, wording, relation, subject)
            recall = read_recall(question)
            if recall is None:
                raise ValueError(f"{question!r} cannot be read back")
            pair = PromptPair(question, question, recall.answer, frame is not None)
            if not is_in_half(spec.half, question) or not can_answer(pair, tokenizer, frame, spec.answer):
                continue
            by_relation.setdefault(relation, []).append(shot_prefix(question, recall, spec.shots) + question)
        for relation, prompts in by_relation.items():
            yield _RecallPool(wording, relation, tuple(prompts))
