"""A parsed calculation: operands, operators, the expression that they form, and its exact value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from arithmoscope.contracts.prompts import Operation
from arithmoscope.prompts.language.numerals import Number, decimals_end, in_digits, in_words
from arithmoscope.prompts.language.questions import Span

# Form of an operator in the text: a sign, an infix word (plus), a noun (the sum of), a verb (add ... to ...), or the
# words of a story (Tom *buys* ...).
OperatorForm = Literal["symbol", "infix", "noun", "verb", "story"]

# Longer powers count as having no value.
MAX_POWER_BITS = 128


@dataclass(frozen=True, slots=True)
class Operand:
    """A number of the question: its span (sign included), its value, and whether it is written in words.

    ``places``: written decimal places. ``within``: the range that replacements are drawn from, if limited (years are).
    """

    span: Span
    value: Number
    words: bool
    places: int = 0
    within: tuple[int, int] | None = None

    def written(self, value: Number) -> str:
        """Another number, written in the style of this one."""
        if self.words and isinstance(value, int):
            return in_words(value, linked=abs(self.value) < 100)
        return in_digits(value, self.places)


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator of the question. ``connective``: the word between a verb's operands ("from"). ``alternative``: the
    words with which a story asks for another operation, if it can."""

    span: Span
    operation: Operation
    form: OperatorForm
    connective: Span | None = None
    alternative: str = ""


@dataclass(frozen=True, slots=True)
class Leaf:
    """The operand with this index, in the order of the text."""

    index: int


@dataclass(frozen=True, slots=True)
class Negated:
    """An expression with a minus sign before it."""

    inner: Expression


@dataclass(frozen=True, slots=True)
class Applied:
    """An operation on two expressions."""

    operation: Operation
    left: Expression
    right: Expression


Expression = Leaf | Negated | Applied


@dataclass(frozen=True, slots=True)
class Reading:
    """A parsed calculation. Spans are character offsets in the whole prompt; operands are in the order of the text.

    ``stem``: the part of the answer that the prompt already contains ("from 1723 to 172").
    """

    question: Span
    operands: tuple[Operand, ...]
    operators: tuple[Operator, ...]
    equals: Span | None
    expression: Expression
    value: Number
    stem: Span | None = None

    @property
    def words(self) -> bool:
        """True if all operands are written in words; then the answer is, too."""
        return all(operand.words for operand in self.operands)

    @property
    def answer(self) -> str:
        """The value, written in the style of the operands."""
        return self.written(self.value)

    def written(self, value: Number) -> str:
        """A value in the style of an answer to this question: in words if all operands are."""
        if self.words and isinstance(value, int):
            return in_words(value, linked=all(abs(operand.value) < 100 for operand in self.operands))
        return in_digits(value)[self.stem[1] - self.stem[0] :] if self.stem else in_digits(value)

    def value_with(self, operands: Sequence[Number]) -> Number | None:
        """The value with other operands, in the order of the text; None as in `exact_value`."""
        return exact_value(self.expression, operands, decimals=any(operand.places for operand in self.operands))


def exact_value(expression: Expression, operands: Sequence[Number], *, decimals: bool) -> Number | None:
    """The exact value with these operands. None if it is not a whole number (with ``decimals``: not a terminating
    decimal), for a division by zero, and for an overlong power."""
    value = _value(expression, operands)
    if value is None:
        return None
    if isinstance(value, int) or value.denominator == 1:
        return int(value)
    return value if decimals and decimals_end(value) else None


def _value(expression: Expression, operands: Sequence[Number]) -> Number | None:
    match expression:
        case Leaf(index):
            return operands[index]
        case Negated(inner):
            value = _value(inner, operands)
            return None if value is None else -value
        case Applied(operation, left_part, right_part):
            left, right = _value(left_part, operands), _value(right_part, operands)
            return None if left is None or right is None else _applied(operation, left, right)


def _applied(operation: Operation, left: Number, right: Number) -> Number | None:
    """The exact result, a fraction if it is not whole, so that "7 / 2 * 2" is 7."""
    match operation:
        case "add":
            return left + right
        case "subtract":
            return left - right
        case "multiply":
            return left * right
        case "divide":
            return Fraction(left) / right if right else None
        case "power":
            return power(left, right)


def power(base: Number, exponent: Number) -> Number | None:
    """``base`` to a whole, non-negative power. None for other exponents, for 0 to the power of 0, and for results of
    more than `MAX_POWER_BITS` bits."""
    if exponent.denominator > 1 or exponent < 0 or base == exponent == 0:
        return None
    if abs(base) != 1 and exponent * max(base.numerator.bit_length(), base.denominator.bit_length()) > MAX_POWER_BITS:
        return None
    return base ** int(exponent) if abs(base) != 1 else int(base) ** (int(exponent) % 2)
