"""Templates of arithmetic questions in three styles, and the numbered questions of a template within given limits.

Questions are counted and indexed without being listed, so operands up to 9 999 cost no more than 1 to 9.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import isqrt
from random import Random

from arithmoscope.contracts.prompts import Operation, Style


@dataclass(frozen=True, slots=True)
class Template:
    """One wording of one operation, with ``{a}`` and ``{b}`` for the left and right operand.

    In a story about years ``{a}`` is the span, ``{b}`` the year, and ``{stem}`` the given digits of the other year.
    """

    operation: Operation
    style: Style
    text: str

    def question(self, a: int | str, b: int | str, stem: str = "") -> str:
        """The question with these operands; ``stem``: the given digits of the year in question."""
        return self.text.format(a=a, b=b, stem=stem)

    @property
    def ending(self) -> str:
        """The text between the last operand and the answer."""
        return re.split(r"\{[a-z]+\}", self.text)[-1]


# One row per wording. Each has a golden example in tests/prompts/test_templates.py.
TEMPLATES: tuple[Template, ...] = (
    Template("add", "equation", "{a} + {b} ="),
    Template("add", "statement", "{a} plus {b} is equal to"),
    Template("add", "statement", "The sum of {a} and {b} is"),
    Template("add", "question", "Q: What is the sum of {a} and {b}? A:"),
    Template("add", "question", "Q: How much is {a} plus {b}? A:"),
    Template("subtract", "equation", "{a} - {b} ="),
    Template("subtract", "statement", "{a} minus {b} is equal to"),
    Template("subtract", "statement", "The difference of {a} and {b} is"),
    Template("subtract", "question", "Q: What is the difference of {a} and {b}? A:"),
    Template("subtract", "question", "Q: How much is {a} minus {b}? A:"),
    Template("multiply", "equation", "{a} * {b} ="),
    Template("multiply", "statement", "{a} times {b} is equal to"),
    Template("multiply", "statement", "The product of {a} and {b} is"),
    Template("multiply", "question", "Q: What is the product of {a} and {b}? A:"),
    Template("multiply", "question", "Q: How much is {a} times {b}? A:"),
    Template("divide", "equation", "{a} / {b} ="),
    Template("divide", "statement", "{a} divided by {b} is equal to"),
    Template("divide", "statement", "The quotient of {a} and {b} is"),
    Template("divide", "question", "Q: What is the quotient of {a} and {b}? A:"),
    Template("divide", "question", "Q: How much is {a} divided by {b}? A:"),
    Template("power", "equation", "{a} ^ {b} ="),
    Template("power", "statement", "{a} to the power of {b} is"),
    Template("power", "statement", "{a} raised to the power of {b} is equal to"),
    Template("power", "question", "Q: What is {a} to the power of {b}? A:"),
    Template("power", "question", "Q: How much is {a} raised to the power of {b}? A:"),
)


@dataclass(frozen=True, slots=True)
class _Row:
    """All questions with the operand ``known``, one for each of ``choices[start:stop]``.

    ``known`` is the first operand, or the divisor. A choice is the answer, or the second factor of a multiplication.
    """

    known: int
    choices: Sequence[int]
    start: int
    stop: int


class Questions:
    """A sequence of the operands (a, b) within ``operands`` whose answer is among ``answers``.

    No answer is negative; divisions are exact and never by zero. ``answers`` are whole, non-negative numbers.
    """

    def __init__(self, operation: Operation, operands: tuple[int, int], answers: Collection[int]) -> None:
        if operation == "power":
            raise ValueError("powers are in arithmoscope.prompts.sets.extra_questions")
        self._operation: Operation = operation
        self._operands = operands
        self._answers = frozenset(answers)
        in_order = sorted(self._answers)
        rows = _products(operands, in_order) if operation == "multiply" else _rows(operation, operands, in_order)
        self._rows = [row for row in rows if row.stop > row.start]
        self._ends = list(accumulate(row.stop - row.start for row in self._rows))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __contains__(self, pair: object) -> bool:
        match pair:
            case (int(a), int(b)) if all(self._operands[0] <= operand <= self._operands[1] for operand in (a, b)):
                return _answer(self._operation, a, b) in self._answers
            case _:
                return False

    def __getitem__(self, number: int) -> tuple[int, int]:
        if not 0 <= number < len(self):
            raise IndexError(number)
        index = bisect_right(self._ends, number)
        row = self._rows[index]
        choice = row.choices[row.stop - (self._ends[index] - number)]
        match self._operation:
            case "add":
                return row.known, choice - row.known
            case "subtract":
                return row.known, row.known - choice
            case "multiply":
                return row.known, choice
            case _:
                return row.known * choice, row.known


def _answer(operation: Operation, a: int, b: int) -> int | None:
    match operation:
        case "add":
            return a + b
        case "subtract":
            return a - b
        case "multiply":
            return a * b
        case _:
            return a // b if b and a % b == 0 else None


def _rows(operation: Operation, operands: tuple[int, int], answers: Sequence[int]) -> Iterator[_Row]:
    low, high = operands
    for known in range(low, high + 1):
        if operation == "add":
            least, most = known + low, known + high
        elif operation == "subtract":
            least, most = known - high, known - low
        elif known == 0:
            continue
        else:
            least, most = -(-low // known), high // known
        yield _Row(known, answers, bisect_left(answers, least), bisect_right(answers, most))


def _products(operands: tuple[int, int], answers: Sequence[int]) -> Iterator[_Row]:
    low, high = operands
    others: dict[int, Sequence[int]] = {}
    if low == 0 and 0 in answers:
        others = {known: [0] for known in range(1, high + 1)}
        others[0] = range(high + 1)
    factors: dict[int, list[int]] = {}
    for answer in answers:
        for factor in range(1, min(isqrt(answer), high) + 1):
            other, rest = divmod(answer, factor)
            if rest == 0 and low <= factor and other <= high:
                factors.setdefault(factor, []).append(other)
                if other != factor:
                    factors.setdefault(other, []).append(factor)
    for known in sorted({*others, *factors}):
        choices = [*others.get(known, ()), *factors.get(known, ())]
        yield _Row(known, choices, 0, len(choices))


def in_random_order(count: int, random: Random) -> Iterator[int]:
    """0 to count - 1 in random order, shuffled only as far as consumed (Fisher-Yates without the list)."""
    moved: dict[int, int] = {}
    for index in range(count):
        other = random.randrange(index, count)
        drawn = moved.get(other, other)
        moved[other] = moved.pop(index, index)
        yield drawn
