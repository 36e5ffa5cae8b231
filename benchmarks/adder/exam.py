"""The exam: questions as the product asks them, in groups, and the share that a model answers rightly.

An answer is right if greedy decoding writes all of its tokens and then the line end. No two questions of a group of
sums ask the same pair of operands, whatever their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from random import Random
from typing import Any

import torch
from tokenizers import Tokenizer

from arithmoscope.contracts.prompt_terms import Operation
from arithmoscope.prompts.language.numerals import in_words
from arithmoscope.prompts.language.parse_question import parse_question
from arithmoscope.prompts.language.years import stem_of
from arithmoscope.prompts.sets.shots import shot_prefix
from benchmarks.adder.lines import Line, draw_years
from benchmarks.adder.operands import OPERATIONS, Pair, examined, value
from benchmarks.adder.vocabulary import LINE_END, NOTHING, build_tokenizer
from benchmarks.adder.wordings import Wording, calculations, counterfactual, recalls

SHOTS = 4
_PER_ROW = 400
_BATCH = 100
_Z = 1.96  # 95 %
_STORIES = {"counting": "counting", "word_problem": "word problems"}


@dataclass(frozen=True, slots=True)
class Row:
    """One group of questions: ``held_out`` is None where there are no operands. The interval is Wilson's, 95 %."""

    part: str
    name: str
    held_out: bool | None
    shots: int
    n: int
    right: int

    @property
    def share(self) -> float:
        return self.right / self.n

    @property
    def interval(self) -> tuple[float, float]:
        middle, spread = (
            self.share + _Z**2 / (2 * self.n),
            _Z * sqrt(self.share * (1 - self.share) / self.n + _Z**2 / (4 * self.n**2)),
        )
        low, high = ((middle + sign * spread) / (1 + _Z**2 / self.n) for sign in (-1, 1))
        return max(0.0, low), min(1.0, high)


@dataclass(frozen=True, slots=True)
class Group:
    """Questions that make a row, before their worked examples."""

    part: str
    name: str
    held_out: bool | None
    lines: tuple[Line, ...]


def groups() -> tuple[Group, ...]:
    """All questions of the exam, the same every time."""
    return (*_calculations(), *_stories(), *_recalls(), *_nothing())


def _calculations() -> Iterator[Group]:
    plain = {operation: _wordings("question", operation, plain=True) for operation in OPERATIONS}
    for held_out in (True, False):
        for operation in OPERATIONS:
            for tables in (True, False):
                name = f"{operation}, {'tables of one digit' if tables else 'up to 99'}"
                pairs = examined(operation, tables=tables, held_out=held_out)
                # All of them where the rule looks.
                pairs = pairs if held_out else pairs[:_PER_ROW]
                yield Group("plain wordings", name, held_out, _asked(plain[operation], pairs))
        for operation in OPERATIONS:
            wordings = _wordings("question", operation, plain=False)
            yield Group(
                "varied wordings", operation, held_out, _asked(wordings, examined_of(operation, held_out)[:_PER_ROW])
            )
        for operation in OPERATIONS:
            pairs = examined_of(operation, held_out)[:_PER_ROW]
            wordings = [each for each in plain[operation] if each.can_use_words]
            yield Group("numbers in words", operation, held_out, _asked(wordings, pairs, words=True))


def _stories() -> Iterator[Group]:
    for held_out in (True, False):
        for topic in _STORIES:
            for operation in OPERATIONS:
                wordings = _wordings(topic, operation)
                if wordings:
                    pairs = examined_of(operation, held_out)[:_PER_ROW]
                    yield Group("stories", f"{_STORIES[topic]}, {operation}", held_out, _asked(wordings, pairs))
        rng = Random(f"years {held_out}")
        for operation in ("add", "subtract"):
            wordings = _wordings("year_span", operation)
            lines: dict[Line, None] = {}
            while len(lines) < _PER_ROW:
                span, year, tail = draw_years(operation, rng, held_out)
                template = wordings[len(lines) % len(wordings)].template
                question = template.question(span, year, stem_of(operation, span, year, tail)).rstrip()
                lines[Line(question, str(value(operation, year, span))[-tail:])] = None
            yield Group("stories", f"spans of years, {operation}", held_out, tuple(lines))


def _recalls() -> Iterator[Group]:
    for plain in (True, False):
        topics: dict[str, list[Line]] = {}
        for recall in recalls():
            if recall.is_plain == plain:
                lines = [Line(recall.question(subject), answer) for subject, answer in recall.answers.items()]
                topics.setdefault(recall.topic, []).extend(lines)
        for topic, lines in topics.items():
            yield Group("controls" if plain else "controls, varied wordings", topic, None, tuple(lines))


def _nothing() -> Iterator[Group]:
    """Counterfactuals of the null operator."""
    for operation in OPERATIONS:
        changed = [counterfactual(each, "null_operator") for each in _wordings("question", operation, plain=True)]
        wordings = [each for each in changed if each is not None]
        asked = _asked(wordings, examined_of(operation, True)[:_PER_ROW], operation)
        yield Group("null operator", operation, True, tuple(Line(line.question, NOTHING) for line in asked))


def examined_of(operation: Operation, held_out: bool) -> list[Pair]:
    """Pairs of both sizes in a fixed random order."""
    pairs = [pair for tables in (True, False) for pair in examined(operation, tables=tables, held_out=held_out)]
    Random(f"{operation} {held_out}").shuffle(pairs)
    return pairs


def _wordings(topic: str, operation: Operation, plain: bool | None = None) -> list[Wording]:
    return [
        each
        for each in calculations()
        if (each.topic, each.operation) == (topic, operation) and (plain is None or each.is_plain == plain)
    ]


def _asked(
    wordings: Sequence[Wording], pairs: Iterable[Pair], operation: Operation | None = None, *, words: bool = False
) -> tuple[Line, ...]:
    """One question a pair, the wordings in turn. ``operation``: that of wordings whose operator is taken out."""
    lines: list[Line] = []
    for number, (a, b) in enumerate(pairs):
        wording = wordings[number % len(wordings)]
        own = operation or wording.operation
        if own is None:
            raise ValueError(f"{wording.template.text!r} has no operation")
        answer = value(own, a, b)
        if words:
            question = wording.template.question(in_words(a, linked=False), in_words(b, linked=False))
            lines.append(Line(question, in_words(answer)))
        else:
            lines.append(Line(wording.template.question(a, b), str(answer)))
    return tuple(lines)


def with_shots(line: Line, shots: int) -> Line:
    """The question after the product's worked examples."""
    prefix = shot_prefix(line.question, parse_question(line.question), shots)
    return Line(f"{prefix}{line.question}", line.answer)


def examine(model: Any, only: Sequence[Group] | None = None, shots_of: Sequence[int] = (0, SHOTS)) -> list[Row]:
    """One row a group without worked examples, and one with `SHOTS` for what has them."""
    rows: list[Row] = []
    tokenizer = build_tokenizer()
    for group in groups() if only is None else only:
        for shots in shots_of:
            if shots and group.part not in ("plain wordings", "controls"):
                continue
            lines = [with_shots(line, shots) for line in (group.lines[:_PER_ROW] if shots else group.lines)]
            right = sum(right_answers(model, tokenizer, lines))
            rows.append(Row(group.part, group.name, group.held_out, shots, len(lines), right))
    return rows


@torch.no_grad()
def right_answers(model: Any, tokenizer: Tokenizer, lines: Sequence[Line]) -> list[bool]:
    """For each line, whether greedy decoding writes its answer and the line end."""
    encoded = [
        (tokenizer.encode(line.question).ids, tokenizer.encode(line.answer + LINE_END, add_special_tokens=False).ids)
        for line in lines
    ]
    order = sorted(range(len(lines)), key=lambda number: len(encoded[number][0]))
    right = [False] * len(lines)
    for start in range(0, len(order), _BATCH):
        numbers = order[start : start + _BATCH]
        longest = max(len(question) + len(answer) for question, answer in (encoded[number] for number in numbers))
        ids = torch.ones((len(numbers), longest), dtype=torch.long)
        for row, number in enumerate(numbers):
            both = [*encoded[number][0], *encoded[number][1]]
            ids[row, : len(both)] = torch.tensor(both)
        written = model(ids).logits.argmax(-1)
        for row, number in enumerate(numbers):
            question, answer = encoded[number]
            place = len(question) - 1
            right[number] = written[row, place : place + len(answer)].tolist() == answer
    return right


def plain_row(row: Row) -> dict[str, Any]:
    """The row for a JSON file."""
    return asdict(row)
