"""Spans of years: "from 1723 to 172", a question for the remaining digits of the second year.

The given digits are the same in both years: a carry in them would reveal the answer.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate

from arithmoscope.contracts.prompts import Operation
from arithmoscope.prompts.language.stories import YEARS


class YearSpans:
    """A sequence of the pairs (span, year) whose other year has the same digits except the last ``tail``."""

    def __init__(self, operation: Operation, spans: tuple[int, int], tail: int) -> None:
        self._operation: Operation = operation
        self._tail = tail
        self._spans = range(spans[0], min(spans[1], 10**tail - 1, YEARS[1] - YEARS[0]) + 1)
        self._years = {span: self._years_with(span) for span in self._spans}
        self._ends = list(accumulate(len(years) for years in self._years.values()))

    def _years_with(self, span: int) -> list[int]:
        """Years whose other year is in the same decade, century or millennium, depending on the tail."""
        block = 10**self._tail
        years: list[int] = []
        for first in range(YEARS[0] // block * block, YEARS[1] + 1, block):
            low, high = max(first, YEARS[0]), min(first + block - 1, YEARS[1])
            years += range(low, high - span + 1) if self._operation == "add" else range(low + span, high + 1)
        return years

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __contains__(self, pair: object) -> bool:
        match pair:
            case (int(span), int(year)):
                return year in self._years.get(span, ())
            case _:
                return False

    def __getitem__(self, number: int) -> tuple[int, int]:
        if not 0 <= number < len(self):
            raise IndexError(number)
        index = bisect_right(self._ends, number)
        span = self._spans[index]
        return span, self._years[span][number - self._ends[index]]


@lru_cache(maxsize=16)
def year_spans(operation: Operation, spans: tuple[int, int], tail: int) -> YearSpans:
    """Cached `YearSpans`: the same for every wording of a set."""
    return YearSpans(operation, spans, tail)


def stem_of(operation: Operation, span: int, year: int, tail: int) -> str:
    """The given digits of the year in question."""
    return str(year + span if operation == "add" else year - span)[:-tail]
