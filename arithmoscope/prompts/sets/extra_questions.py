"""Numbered questions of a template with decimals, powers or unrestricted answers.

As in `arithmoscope.prompts.language.templates.Questions` they are counted and indexed without being listed, ordered by
the second operand, then by the first. Operands are in units of the last decimal: with ``scale`` 10, 25 is 2.5.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

from arithmoscope.contracts.prompts import Operation
from arithmoscope.prompts.language.numerals import Number

# Largest exponent and largest answer of a power.
MAX_EXPONENT = 12
MAX_ANSWER = 10**12


@dataclass(frozen=True, slots=True)
class _Row:
    """All questions with this second operand, one for each of ``choices[start:stop]``: the first operand, or the answer
    from which it follows."""

    second: int
    choices: Sequence[int]
    start: int
    stop: int


class ExtraQuestions:
    """A sequence of the operands (a, b) within ``operands`` whose answer is among ``answers`` (None: any answer).

    ``decimals``: decimal places of the operands; the second factor, the divisor and the exponent have none, so that
    products and quotients have no more places than the first operand. No answer is negative; divisions are exact and
    never by zero.
    """

    def __init__(
        self, operation: Operation, operands: tuple[int, int], answers: Collection[int] | None, decimals: int = 0
    ) -> None:
        self._operation: Operation = operation
        self._scale = 10**decimals
        self._first = operands[0] * self._scale, operands[1] * self._scale
        self._second = self._first if operation in ("add", "subtract") else operands
        self._answers = None if answers is None else sorted({answer * self._scale for answer in answers})
        self._rows = [row for row in self._all_rows() if row.stop > row.start]
        self._ends = list(accumulate(row.stop - row.start for row in self._rows))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, number: int) -> tuple[Number, Number]:
        if not 0 <= number < len(self):
            raise IndexError(number)
        index = bisect_right(self._ends, number)
        row = self._rows[index]
        choice = row.choices[row.stop - (self._ends[index] - number)]
        a, b = self._follow(choice, row.second), row.second
        return self._number(a), self._number(b) if self._second == self._first else b

    def __contains__(self, pair: object) -> bool:
        match pair:
            case (int() | Fraction() as a, int() | Fraction() as b):
                numbers = self._numbers_with(b)
                # First operands ascend within a row.
                index = bisect_left(numbers, a, key=lambda number: self[number][0])
                return index < len(numbers) and self[numbers[index]] == (a, b)
            case _:
                return False

    def _numbers_with(self, second: Number) -> range:
        units = second * self._scale if self._second == self._first else second
        index = bisect_left(self._rows, units, key=lambda row: row.second)
        if index == len(self._rows) or self._rows[index].second != units:
            return range(0)
        return range(self._ends[index - 1] if index else 0, self._ends[index])

    def _number(self, units: int) -> Number:
        value = Fraction(units, self._scale)
        return int(value) if value.denominator == 1 else value

    def _follow(self, choice: int, second: int) -> int:
        """The first operand; for restricted sums, differences and quotients the choice is the answer."""
        if self._answers is None:
            return choice
        match self._operation:
            case "add":
                return choice - second
            case "subtract":
                return choice + second
            case "divide":
                return choice * second
            case _:
                return choice

    def _all_rows(self) -> Iterator[_Row]:
        low, high = self._second
        if self._operation == "power":
            high = min(high, MAX_EXPONENT)
        for second in range(max(low, 1) if self._operation == "divide" else low, high + 1):
            choices = self._any(second) if self._answers is None else None
            if choices is not None:
                yield _Row(second, choices, 0, len(choices))
            elif self._operation in ("multiply", "power"):
                firsts = self._solved(second)
                yield _Row(second, firsts, 0, len(firsts))
            else:
                yield self._slice(second)

    def _any(self, second: int) -> range:
        """First operands, with any answer."""
        low, high = self._first
        match self._operation:
            case "subtract":
                return range(max(low, second), high + 1)
            case "divide":
                return range(-(-low // second) * second, high + 1, second)
            case "power":
                return range(max(low, int(second == 0)), min(high, self._largest_base(second)) + 1)
            case _:
                return range(low, high + 1)

    def _largest_base(self, exponent: int) -> int:
        return self._first[1] if exponent == 0 else _root(MAX_ANSWER * self._scale**exponent, exponent)

    def _solved(self, second: int) -> list[int]:
        """First operands whose product with ``second``, or power ``second``, is among the answers."""
        low, high = self._first
        answers = self._answers or []
        if second == 0:
            # x * 0 is 0, and x ^ 0 is 1 unless x is 0.
            result = 0 if self._operation == "multiply" else self._scale
            return list(range(max(low, int(result > 0)), high + 1)) if result in answers else []
        if self._operation == "multiply":
            firsts = (answer // second for answer in answers if answer % second == 0)
        else:
            powers = (answer * self._scale ** (second - 1) for answer in answers)
            firsts = (root for power in powers if (root := _root(power, second)) ** second == power)
        return [first for first in firsts if low <= first <= high]

    def _slice(self, second: int) -> _Row:
        low, high = self._first
        answers = self._answers or []
        if self._operation == "add":
            least, most = low + second, high + second
        elif self._operation == "subtract":
            least, most = low - second, high - second
        else:
            least, most = -(-low // second), high // second
        return _Row(second, answers, bisect_left(answers, least), bisect_right(answers, most))


def _root(power: int, exponent: int) -> int:
    """The largest whole number whose power does not exceed this one."""
    low, high = 0, 1 << (power.bit_length() // exponent + 1)
    while low < high:
        middle = (low + high + 1) // 2
        if middle**exponent <= power:
            low = middle
        else:
            high = middle - 1
    return low
