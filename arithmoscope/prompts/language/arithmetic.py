"""Parser for the arithmetic in a prompt's last question: operands, operators, equals sign, exact value.

    3 + 5 =    three plus five is    The sum of 3 and 5 is    Q: What is (3 + 5) × 2? A:    1.5 ^ 2 =

A small recursive-descent parser over one pass of a linear lexer; nothing is ever evaluated as code. A question that
does not parse as a whole is not read at all: a wrong reading would be worse than none.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from arithmoscope.contracts.prompts import Operation
from arithmoscope.prompts.language.lexicon import (
    EQUALS,
    INFIX_WORDS,
    LEAD_IN,
    LONGEST_INFIX,
    MAX_LEXEMES,
    NOUNS,
    SENTENCE_ENDS,
    SYMBOLS,
    VERBS,
    Lexeme,
    lexemes_of,
)
from arithmoscope.prompts.language.numerals import value_of_words
from arithmoscope.prompts.language.questions import Span, last_question
from arithmoscope.prompts.language.readings import (
    Applied,
    Expression,
    Leaf,
    Negated,
    Operand,
    Operator,
    OperatorForm,
    Reading,
    exact_value,
)

MAX_QUESTION_CHARACTERS = 2_000
MAX_DIGITS = 12
MAX_DEPTH = 24


def read(prompt: str) -> Reading | None:
    """The arithmetic of the last question of ``prompt``, or None if it has none or does not parse."""
    question = last_question(prompt)
    if question[1] - question[0] > MAX_QUESTION_CHARACTERS:
        return None
    lexemes = lexemes_of(prompt, question)
    if len(lexemes) > MAX_LEXEMES:
        return None
    stop, equals = _ending(lexemes)
    try:
        parser = _Parser(lexemes[_beginning(lexemes[:stop]) : stop])
        expression = parser.whole()
    except _Unreadable:
        return None
    operands = tuple(parser.operands)
    decimals = any(operand.places for operand in operands)
    value = exact_value(expression, [operand.value for operand in operands], decimals=decimals)
    if value is None:
        return None
    return Reading(question, operands, tuple(parser.operators), equals, expression, value)


class _Unreadable(Exception):
    """The text is not an expression of this grammar. Caught inside this module."""


def _ending(lexemes: list[Lexeme]) -> tuple[int, Span | None]:
    """The end of the expression, before "=", "is equal to", "?", "? A:" or nothing, and the span of the equals sign."""
    texts = [lexeme.text for lexeme in lexemes]
    stop = len(texts)
    if texts[stop - 2 : stop] in (["a", ":"], ["answer", ":"]):
        stop -= 2
    for mark in ("?", ".", ":"):
        if texts[stop - 1 : stop] == [mark]:
            stop -= 1
    for sign in EQUALS:
        if tuple(texts[max(0, stop - len(sign)) : stop]) == sign:
            return stop - len(sign), (lexemes[stop - len(sign)].start, lexemes[stop - 1].end)
    return stop, None


def _beginning(lexemes: list[Lexeme]) -> int:
    """The start of the expression: after earlier sentences, after "Q:", after "What is"."""
    start = 0
    for index in range(1, len(lexemes) - 1):
        before, mark, after = lexemes[index - 1 : index + 2]
        if mark.text in SENTENCE_ENDS and before.end == mark.start and mark.end < after.start:
            if after.text in SYMBOLS:  # "5. - 3" or "5! + 3"
                raise _Unreadable
            start = index + 1
        elif mark.text == ":" and (before.kind == "word" or _names_question(lexemes[:index])):
            start = index + 1
    while start < len(lexemes) and (lexemes[start].text in LEAD_IN or (start and lexemes[start].text in "'’")):
        start += 1
    return start


def _names_question(lexemes: list[Lexeme]) -> bool:
    """True for "Question 2" before a colon; after any other number the colon may be a division sign."""
    return len(lexemes) > 1 and lexemes[-2].text in ("q", "question") and lexemes[-1].kind == "number"


class _Parser:
    """Recursive-descent parser. Collects operands and operators in the order of the text."""

    def __init__(self, lexemes: list[Lexeme]) -> None:
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
        index = self._at + ahead
        return self._lexemes[index].text if index < len(self._lexemes) else ""

    def _next(self) -> Lexeme:
        if self._at >= len(self._lexemes):
            raise _Unreadable
        self._at += 1
        return self._lexemes[self._at - 1]

    def _peek_infix(self) -> tuple[Operation, bool, int, OperatorForm] | None:
        """The next infix operator: operation, whether its operands are reversed, length in lexemes, form."""
        if self._text() in SYMBOLS:
            return SYMBOLS[self._text()], False, 1, "symbol"
        for length in range(LONGEST_INFIX, 0, -1):
            words = tuple(self._text(ahead) for ahead in range(length))
            if words in INFIX_WORDS:
                return *INFIX_WORDS[words], length, "infix"
        return None

    def _sum(self) -> Expression:
        return self._chain(("add", "subtract"), self._product)

    def _product(self) -> Expression:
        return self._chain(("multiply", "divide"), self._power)

    def _power(self) -> Expression:
        """A power binds tighter than any other operator and associates to the right: 2 ^ 3 ^ 2 is 2 ^ 9."""
        base = self._factor()
        infix = self._peek_infix()
        if infix is None or infix[0] != "power":
            return base
        # "-3 ^ 2" is ambiguous: -9 or 9.
        if isinstance(base, Negated) or (isinstance(base, Leaf) and self.operands[base.index].value < 0):
            raise _Unreadable
        self._operator(*infix)
        return Applied("power", base, self._power())

    def _operator(self, operation: Operation, _: bool, length: int, form: OperatorForm) -> None:
        first = last = self._next()
        for _more in range(length - 1):
            last = self._next()
        self.operators.append(Operator((first.start, last.end), operation, form))

    def _chain(self, operations: tuple[Operation, ...], part: Callable[[], Expression]) -> Expression:
        left = part()
        while (infix := self._peek_infix()) and infix[0] in operations:
            operation, is_reversed = infix[:2]
            self._operator(*infix)
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

    def _number(self, lexeme: Lexeme, start: int, sign: int = 1) -> Leaf:
        words = not lexeme.text[0].isdigit()
        if not words and len(lexeme.text) > MAX_DIGITS:
            raise _Unreadable
        value = value_of_words(lexeme.text) if words else Fraction(lexeme.text)
        value = int(value) if value.denominator == 1 else value
        places = len(lexeme.text.partition(".")[2])
        self.operands.append(Operand((start, lexeme.end), sign * value, words, places))
        return Leaf(len(self.operands) - 1)

    def _negated(self, minus: Lexeme) -> Expression:
        # "-3" is one operand; "-(3 + 5)" is a negated expression; "-three" is not English.
        if self._at < len(self._lexemes) and self._lexemes[self._at].kind == "number":
            number = self._next()
            if not number.text[0].isdecimal():
                raise _Unreadable
            return self._number(number, minus.start, -1)
        return Negated(self._factor())

    def _noun_phrase(self, noun: Lexeme) -> Expression:
        """``sum of A and B``. Followed by another operator it would be ambiguous, so it is not read."""
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
        index = len(self.operators)
        self.operators.append(Operator((verb.start, verb.end), operation, "verb"))
        expression = self._list(operation, connectives)
        connective = next((word for word in self._lexemes if word.text in connectives), None)
        if connective:
            span = (connective.start, connective.end)
            self.operators[index] = Operator((verb.start, verb.end), operation, "verb", span)
        if connectives == ("from",) and isinstance(expression, Applied):
            return Applied(operation, expression.right, expression.left)
        return expression

    def _list(self, operation: Operation, connectives: tuple[str, ...]) -> Expression:
        """``A and B``; for plain numbers also ``A, B, and C`` if the order does not matter."""
        items = [self._factor()]
        while self._text() == "," or self._text() in connectives:
            comma = self._next().text == ","
            if comma and self._text() in connectives:
                self._next()
            items.append(self._factor())
            # In nested expressions a third item could belong to the inner or to the outer list.
            if len(items) == 2 and (self._depth > 1 or not all(isinstance(item, Leaf) for item in items)):
                break
        if len(items) < 2 or (len(items) > 2 and operation in ("subtract", "divide")):
            raise _Unreadable
        expression = items[0]
        for item in items[1:]:
            expression = Applied(operation, expression, item)
        return expression
