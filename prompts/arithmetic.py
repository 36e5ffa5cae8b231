"""Reads the arithmetic of a prompt's last question: operands, operators, the sign of equality, the exact value.

    3 + 5 =    three plus five is    The sum of 3 and 5 is    Q: What is (3 + 5) × 2? A:    Subtract 3 from 5

A small recursive-descent parser over one pass of a linear lexer; nothing is ever evaluated as code. What it does
not understand whole it does not read at all: a wrong reading would be worse than none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from contracts.prompts import Operation
from prompts.numerals import NUMBER_WORD_PATTERN, in_words, value_of_words
from prompts.questions import Span, last_question

# How an operator is written: a sign, an infix word (plus), a noun (the sum of), a verb (add ... to ...).
OperatorForm = Literal["symbol", "infix", "noun", "verb"]

MAX_QUESTION_CHARACTERS = 2_000
MAX_LEXEMES = 256
MAX_DIGITS = 12
MAX_DEPTH = 24

SYMBOLS: dict[str, Operation] = {
    "+": "add",
    "-": "subtract",
    "−": "subtract",
    "–": "subtract",
    "*": "multiply",
    "×": "multiply",
    "·": "multiply",
    "x": "multiply",
    "/": "divide",
    "÷": "divide",
}
# Infix words; the longest that fits is read. True: the operands stand in reverse ("3 subtracted from 5").
INFIX_WORDS: dict[tuple[str, ...], tuple[Operation, bool]] = {
    ("plus",): ("add", False),
    ("added", "to"): ("add", False),
    ("minus",): ("subtract", False),
    ("subtracted", "from"): ("subtract", True),
    ("times",): ("multiply", False),
    ("multiplied", "by"): ("multiply", False),
    ("divided", "by"): ("divide", False),
}
NOUNS: dict[str, Operation] = {
    "sum": "add",
    "addition": "add",
    "difference": "subtract",
    "subtraction": "subtract",
    "product": "multiply",
    "multiplication": "multiply",
    "quotient": "divide",
    "division": "divide",
}
# Verbs and what may stand between their operands.
VERBS: dict[str, tuple[Operation, tuple[str, ...]]] = {
    "add": ("add", ("and", "to")),
    "subtract": ("subtract", ("from",)),
    "multiply": ("multiply", ("by", "and", "with")),
    "divide": ("divide", ("by",)),
}
_EQUALS = (("is", "equal", "to"), ("equals", "to"), ("equals",), ("is",), ("=",))
# What may come before the expression. "the" also opens "the sum of".
# fmt: off
_LEAD_IN = frozenset((
    "what", "whats", "s", "is", "are", "how", "much", "does", "do", "calculate", "compute", "evaluate", "find", "solve",
    "please", "the", "result", "value", "answer", "of", "work", "out", "tell", "me", "q", "question",
))
# fmt: on
_SENTENCE_ENDS = frozenset(".;!?")

_LEXEME = re.compile(
    rf"(?P<number>[0-9]+|(?<![^\W_]){NUMBER_WORD_PATTERN})|(?P<word>[^\W\d_]+)|(?P<sign>[^\s])", re.IGNORECASE
)


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
        return _whole(_value(self.expression, operands))


def read(prompt: str) -> Reading | None:
    """The arithmetic of the last question of ``prompt``, or None where there is none or it is not understood."""
    question = last_question(prompt)
    if question[1] - question[0] > MAX_QUESTION_CHARACTERS:
        return None
    lexemes = _lexemes(prompt, question)
    if len(lexemes) > MAX_LEXEMES:
        return None
    start, stop, equals = _bounds(lexemes)
    parser = _Parser(lexemes[start:stop])
    try:
        expression = parser.whole()
    except _Unreadable:
        return None
    operands = tuple(parser.operands)
    value = _whole(_value(expression, [operand.value for operand in operands]))
    if value is None:
        return None
    return Reading(question, operands, tuple(parser.operators), equals, expression, value)


def _value(expression: Expression, operands: Sequence[int]) -> Fraction | int | None:
    match expression:
        case Leaf(index):
            return operands[index]
        case Negated(inner):
            value = _value(inner, operands)
            return None if value is None else -value
        case Applied(operation, left_part, right_part):
            left, right = _value(left_part, operands), _value(right_part, operands)
            return None if left is None or right is None else apply(operation, left, right)


def apply(operation: Operation, left: Fraction | int, right: Fraction | int) -> Fraction | int | None:
    """The exact result, as a fraction where it is not whole; None for a division by zero."""
    match operation:
        case "add":
            return left + right
        case "subtract":
            return left - right
        case "multiply":
            return left * right
        case "divide":
            return Fraction(left) / right if right else None


def _whole(value: Fraction | int | None) -> int | None:
    return int(value) if value is not None and value.denominator == 1 else None


@dataclass(frozen=True, slots=True)
class _Lexeme:
    kind: str  # number, word, sign
    text: str  # lower case
    start: int
    end: int


def _lexemes(prompt: str, question: Span) -> list[_Lexeme]:
    found: list[_Lexeme] = []
    for match in _LEXEME.finditer(prompt, *question):
        found.append(_Lexeme(match.lastgroup or "", match.group().lower(), match.start(), match.end()))
        if len(found) > MAX_LEXEMES:
            break
    return found


def _bounds(lexemes: list[_Lexeme]) -> tuple[int, int, Span | None]:
    """Where the expression begins and ends between the lead-in and the ending, and the sign of equality."""
    texts = [lexeme.text for lexeme in lexemes]
    stop = len(texts)
    if texts[stop - 2 : stop] in (["a", ":"], ["answer", ":"]):
        stop -= 2
    if texts[stop - 1 : stop] == ["?"]:
        stop -= 1
    if texts[stop - 1 : stop] == [":"]:
        stop -= 1
    equals = None
    for sign in _EQUALS:
        if tuple(texts[max(0, stop - len(sign)) : stop]) == sign:
            equals = (lexemes[stop - len(sign)].start, lexemes[stop - 1].end)
            stop -= len(sign)
            break
    start = 0
    for index in range(stop - 1):
        spaced = lexemes[index + 1].start > lexemes[index].end
        after_word = index > 0 and lexemes[index - 1].kind == "word"
        if (texts[index] in _SENTENCE_ENDS and spaced) or (texts[index] == ":" and after_word):
            start = index + 1
    while start < stop and (texts[start] in _LEAD_IN or (texts[start] in "'’" and start > 0)):
        start += 1
    return start, stop, equals


class _Unreadable(Exception):
    """The text is not an expression of this grammar; never leaves this file."""


class _Parser:
    """Recursive descent. Collects operands and operators in the order of the text as it goes."""

    def __init__(self, lexemes: list[_Lexeme]) -> None:
        self._lexemes = lexemes
        self._at = 0
        self._depth = 0
        self.operands: list[Operand] = []
        self.operators: list[Operator] = []

    def whole(self) -> Expression:
        """The whole text as one expression with at least one operator."""
        expression = self._verb_phrase() if self._text() in VERBS else self._sum()
        if self._at < len(self._lexemes) or not self.operators:
            raise _Unreadable
        return expression

    def _text(self, ahead: int = 0) -> str:
        at = self._at + ahead
        return self._lexemes[at].text if at < len(self._lexemes) else ""

    def _next(self) -> _Lexeme:
        if self._at >= len(self._lexemes):
            raise _Unreadable
        self._at += 1
        return self._lexemes[self._at - 1]

    def _peek_infix(self) -> tuple[Operation, bool, int, OperatorForm] | None:
        """Operation, whether the operands are reversed, length in lexemes, form."""
        if self._text() in SYMBOLS:
            return SYMBOLS[self._text()], False, 1, "symbol"
        for length in (2, 1):
            words = tuple(self._text(ahead) for ahead in range(length))
            if words in INFIX_WORDS:
                return *INFIX_WORDS[words], length, "infix"
        return None

    def _sum(self) -> Expression:
        return self._chain(("add", "subtract"), self._product)

    def _product(self) -> Expression:
        return self._chain(("multiply", "divide"), self._factor)

    def _chain(self, operations: tuple[Operation, ...], part: Callable[[], Expression]) -> Expression:
        left = part()
        while (infix := self._peek_infix()) and infix[0] in operations:
            operation, is_reversed, length, form = infix
            first = self._next()
            last = self._next() if length == 2 else first
            self.operators.append(Operator((first.start, last.end), operation, form))
            right = part()
            left = Applied(operation, right, left) if is_reversed else Applied(operation, left, right)
        return left

    def _factor(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _Unreadable
        try:
            lexeme = self._next()
            if lexeme.kind == "number":
                return self._number(lexeme, lexeme.start)
            if lexeme.text in SYMBOLS and SYMBOLS[lexeme.text] == "subtract":
                return self._negated(lexeme)
            if lexeme.text == "(":
                inner = self._sum()
                if self._next().text != ")":
                    raise _Unreadable
                return inner
            if lexeme.text == "the":
                lexeme = self._next()
            if lexeme.text in NOUNS:
                return self._noun_phrase(lexeme)
            raise _Unreadable
        finally:
            self._depth -= 1

    def _number(self, lexeme: _Lexeme, start: int, sign: int = 1) -> Leaf:
        words = not lexeme.text[0].isdigit()
        if not words and len(lexeme.text) > MAX_DIGITS:
            raise _Unreadable
        value = value_of_words(lexeme.text) if words else int(lexeme.text)
        self.operands.append(Operand((start, lexeme.end), sign * value, words))
        return Leaf(len(self.operands) - 1)

    def _negated(self, minus: _Lexeme) -> Expression:
        # "-3" is one operand; "-(3 + 5)" is an expression turned round.
        if self._at < len(self._lexemes) and self._lexemes[self._at].kind == "number":
            return self._number(self._next(), minus.start, -1)
        return Negated(self._factor())

    def _noun_phrase(self, noun: _Lexeme) -> Expression:
        """``sum of A and B``. Followed by another operator it would be ambiguous, and is not read."""
        operation = NOUNS[noun.text]
        self.operators.append(Operator((noun.start, noun.end), operation, "noun"))
        if self._next().text not in ("of", "between"):
            raise _Unreadable
        expression = self._list(operation, ("and",))
        if self._peek_infix():
            raise _Unreadable
        return expression

    def _verb_phrase(self) -> Expression:
        verb = self._next()
        operation, connectives = VERBS[verb.text]
        at = len(self.operators)
        self.operators.append(Operator((verb.start, verb.end), operation, "verb"))
        expression = self._list(operation, connectives)
        connective = next((word for word in self._lexemes if word.text in connectives), None)
        if connective:
            span = (connective.start, connective.end)
            self.operators[at] = Operator((verb.start, verb.end), operation, "verb", span)
        if connectives == ("from",) and isinstance(expression, Applied):
            return Applied(operation, expression.right, expression.left)
        return expression

    def _list(self, operation: Operation, connectives: tuple[str, ...]) -> Expression:
        """``A and B``; of plain numbers also ``A, B, and C`` where the order does not matter."""
        items = [self._factor()]
        while self._text() == "," or self._text() in connectives:
            comma = self._next().text == ","
            if comma and self._text() in connectives:
                self._next()
            items.append(self._factor())
            # Inside another expression, or around one, a third item could belong to either.
            if len(items) == 2 and (self._depth or not all(isinstance(item, Leaf) for item in items)):
                break
        if len(items) < 2 or (len(items) > 2 and operation in ("subtract", "divide")):
            raise _Unreadable
        expression = items[0]
        for item in items[1:]:
            expression = Applied(operation, expression, item)
        return expression
