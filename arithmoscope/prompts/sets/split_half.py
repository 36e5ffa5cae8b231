"""Half of a set: the questions whose operands fall on one side of the split that `operand_split` makes."""

from __future__ import annotations

from typing import Protocol

from arithmoscope.contracts.prompts import Half
from arithmoscope.prompts.language.numerals import Number
from arithmoscope.prompts.language.question_operands import format_operands
from arithmoscope.prompts.sets.operand_split import on_first_side_of

# More questions than this are not gone through: about half of them fall on either side.
MOST_COUNTED = 40_000


class Numbered(Protocol):
    """Questions by number, each with its operands."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> tuple[Number, Number]: ...


def is_in_half(half: Half | None, about: str) -> bool:
    """Whether a question is in this half; ``about`` is as `operand_split.operands_of` writes it."""
    return half is None or on_first_side_of(about) == (half == "first")


def count_in_half(half: Half | None, questions: Numbered) -> int:
    """How many are in this half: exact up to `MOST_COUNTED` questions, half of them where there are more."""
    if half is None:
        return len(questions)
    if len(questions) > MOST_COUNTED:
        return len(questions) // 2
    return sum(is_in_half(half, format_operands(questions[number])) for number in range(len(questions)))
