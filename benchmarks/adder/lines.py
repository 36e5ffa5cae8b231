"""Training lines: a question as the product asks it and its answer, drawn at random.

Most sequences repeat one wording, as worked examples do. A line may have its operator taken out, as the null operator
does it: its answer is `NOTHING`. Or another operator, as the operator swap does it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple, TypeVar

from arithmoscope.contracts.prompt_terms import Operation, Style
from arithmoscope.prompts.language.numerals import in_words
from arithmoscope.prompts.language.years import stem_of, year_spans
from benchmarks.adder.operands import OPERATIONS, draw, is_held_out, value
from benchmarks.adder.vocabulary import NOTHING
from benchmarks.adder.wordings import Recall, Wording, calculations, counterfactual, recalls

# Shares of the lines.
_CONTROLS, _STORIES, _YEARS = 0.14, 0.08, 0.05
_OPERATIONS: dict[Operation, float] = {"add": 0.33, "subtract": 0.26, "multiply": 0.17, "divide": 0.17, "power": 0.07}
_STYLES: dict[Style, float] = {"equation": 0.56, "statement": 0.22, "question": 0.22}
_PLAIN, _IN_WORDS, _NULL, _SWAPPED = 0.75, 0.08, 0.06, 0.04
# Spans of a year: one digit or two of the other year are asked for.
_TAILS = {1: (1, 9), 2: (10, 89)}


class Line(NamedTuple):
    """A question and its answer."""

    question: str
    answer: str


Asker = Callable[[Random], Line]
Key = TypeVar("Key")


def draw_asker(rng: Random) -> Asker:
    """One way to ask; called, it draws operands or a subject and gives a line."""
    kind = rng.random()
    if kind < _CONTROLS:
        return _recall_asker(rng)
    if kind < _CONTROLS + _YEARS:
        return _calculation_asker(rng.choice(_YEAR_WORDINGS), False)
    operation = _weighted(_OPERATIONS, rng)
    told = _STORY_WORDINGS[operation]
    if kind < _CONTROLS + _YEARS + _STORIES and told:
        wording = rng.choice(told)
    else:
        wording = rng.choice(_QUESTION_WORDINGS[operation, _weighted(_STYLES, rng), rng.random() < _PLAIN])
    return _calculation_asker(wording, wording.can_use_words and rng.random() < _IN_WORDS)


def _recall_asker(rng: Random) -> Asker:
    recall = rng.choice(_RECALLS[rng.random() < _PLAIN])
    subjects = list(recall.answers)

    def ask(rng: Random) -> Line:
        subject = rng.choice(subjects)
        if rng.random() < _NULL:
            return Line(recall.question(subject, without_relation=True), NOTHING)
        return Line(recall.question(subject), recall.answers[subject])

    return ask


def _calculation_asker(wording: Wording, words: bool) -> Asker:
    without = counterfactual(wording, "null_operator")
    swapped = counterfactual(wording, "operator_swap")

    def ask(rng: Random) -> Line:
        kind = rng.random()
        if without is not None and kind < _NULL:
            return Line(calculation(wording, rng, words, text=without).question, NOTHING)
        if swapped is not None and swapped.operation is not None and 1 - kind < _SWAPPED:
            return calculation(swapped, rng, words)
        return calculation(wording, rng, words)

    return ask


def calculation(wording: Wording, rng: Random, words: bool, text: Wording | None = None) -> Line:
    """A question with drawn operands, and its answer. ``text``: the wording to write it in, if that is another."""
    operation = wording.operation
    if operation is None:
        raise ValueError(f"{wording.template.text!r} has no operation")
    template = (text or wording).template
    if wording.topic == "year_span":
        span, year, tail = draw_years(operation, rng)
        stem = stem_of(operation, span, year, tail)
        answer = str(value(operation, year, span))[-tail:]
        return Line(template.question(span, year, stem).rstrip(), answer)
    a, b = draw(operation, rng)
    if words:
        return Line(
            template.question(in_words(a, linked=False), in_words(b, linked=False)), in_words(value(operation, a, b))
        )
    return Line(template.question(a, b), str(value(operation, a, b)))


def draw_years(operation: Operation, rng: Random, held_out: bool = False) -> tuple[int, int, int]:
    """A span, a year, and the number of digits asked for. 1723 + 5 counts as 3 + 5: it is held out with it."""
    while True:
        tail = rng.choice(tuple(_TAILS))
        spans = year_spans(operation, _TAILS[tail], tail)
        span, year = spans[rng.randrange(len(spans))]
        if is_held_out(operation, year % 10**tail, span) == held_out:
            return span, year, tail


def _weighted(weights: dict[Key, float], rng: Random) -> Key:
    return rng.choices(list(weights), list(weights.values()))[0]


_RECALLS: dict[bool, Sequence[Recall]] = {
    True: [recall for recall in recalls() if recall.is_plain],
    False: recalls(),
}
_YEAR_WORDINGS = [each for each in calculations() if each.topic == "year_span"]
_STORY_WORDINGS = {
    operation: [
        each for each in calculations() if each.topic in ("counting", "word_problem") and each.operation == operation
    ]
    for operation in OPERATIONS
}
_QUESTION_WORDINGS = {
    (operation, style, plain): [
        each
        for each in calculations()
        if (each.topic, each.operation, each.template.style) == ("question", operation, style)
        and each.is_plain == plain
    ]
    for operation in OPERATIONS
    for style in _STYLES
    for plain in (True, False)
}
