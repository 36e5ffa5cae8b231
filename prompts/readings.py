"""What was read of a question: its operands, its operators, and the expression they make, with its exact value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from contracts.prompts import Operation
from prompts.numerals import in_words
from prompts.questions import Span

# How an operator is written: a sign, an infix word (plus), a noun (the sum of), a verb (add ... to ...).
OperatorForm = Literal["symbol", "infix", "noun", "verb"]


@dataclass(frozen=True, slots=True)
class Operand:
    """A number of the question: where it stands (its sign included), its value, whether it is written in words."""

    span: Span
    value: int
    words: bool


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator of the question. ``connective`` is the word between a verb's operands ("from")."""

    span: Span
    operation: Operation
    form: OperatorForm
    connective: Span | None = None


@dataclass(frozen=True, slots=True)
class Leaf:
    """The operand with this number, counted in the order of the text."""

    index: int


@dataclass(frozen=True, slots=True)
class Negated:
    inner: Expression


@dataclass(frozen=True, slots=True)
class Applied:
    operation: Operation
    left: Expression
    right: Expression


Expression = Leaf | Negated | Applied


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read. Spans are character offsets in the whole prompt; operands stand in the order of the text."""

    question: Span
    operands: tuple[Operand, ...]
    operators: tuple[Operator, ...]
    equals: Span | None
    expression: Expression
    value: int

    @property
    def words(self) -> bool:
        """Whether all operands are words, and so the answer is."""
        return all(operand.words for operand in self.operands)

    @property
    def answer(self) -> str:
        """The value, written as the operands are."""
        return in_words(self.value) if self.words else str(self.value)

    def value_with(self, operands: Sequence[int]) -> int | None:
        """The value with other operands, in the order of the text; None when it is not a whole number."""
        return whole_value(self.expression, operands)


def whole_value(expression: Expression, operands: Sequence[int]) -> int | None:
    """The exact value with these operands; None where it is not a whole number or a division is by zero."""
    value = _value(expression, operands)
    return int(value) if value is not None and value.denominator == 1 else None


def _value(expression: Expression, operands: Sequence[int]) -> Fraction | int | None:
    match expression:
        case Leaf(index):
            return operands[index]
        case Negated(inner):
            value = _value(inner, operands)
            return None if value is None else -value
        case Applied(operation, left_part, right_part):
            left, right = _value(left_part, operands), _value(right_part, operands)
            return None if left is None or right is None else _applied(operation, left, right)


def _applied(operation: Operation, left: Fraction | int, right: Fraction | int) -> Fraction | int | None:
    """As a fraction where it is not whole, so that "7 / 2 * 2" is 7."""
    match operation:
        case "add":
            return left + right
        case "subtract":
            return left - right
        case "multiply":
            return left * right
        case "divide":
            return Fraction(left) / right if right else None
