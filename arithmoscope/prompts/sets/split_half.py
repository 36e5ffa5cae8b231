"""Halves of a set: the questions whose operands fall on one side of the split in `operand_split`."""

from __future__ import annotations

from typing import Protocol

from arithmoscope.contracts.prompts import Half
from arithmoscope.prompts.language.numerals import Number
from arithmoscope.prompts.language.question_operands import format_operands
from arithmoscope.prompts.sets.operand_split import on_first_side_of

# Larger sets are not counted one by one: about half of their questions fall on either side.
MOST_COUNTED = 40_000


class Numbered(Protocol):
    """A sequence of questions, each given by its operands."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> tuple[Number, Number]: ...


def is_in_half(half: Half | None, operands: str) -> bool:
    """True if a question with these operands (a key as from `operand_split.operands_of`) is in the half."""
    return half is None or on_first_side_of(operands) == (half == "first")


def count_in_half(half: Half | None, questions: Numbered) -> int:
    """Number of questions in the half: exact up to `MOST_COUNTED` questions, otherwise half of them."""
    if half is None:
        return len(questions)
    if len(questions) > MOST_COUNTED:
        return len(questions) // 2
    return sum(is_in_half(half, format_operands(questions[number])) for number in range(len(questions)))
