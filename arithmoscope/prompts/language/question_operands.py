"""Operands of a question as a key: those of a parsed question, otherwise all numbers in its text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache

from arithmoscope.contracts.prompts import MAX_PAIRS
from arithmoscope.prompts.language.numerals import LARGE_NUMBER_WORD_PATTERN, Number, value_of_words
from arithmoscope.prompts.language.parse_question import parse_question
from arithmoscope.prompts.language.questions import question_text
from arithmoscope.prompts.language.readings import Reading

_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")
# A line that opens a question; the lines before it are examples.
_OPENS = re.compile(r"^[^\S\n]*(?=(?:q|question)[ \t]{0,2}[0-9]{0,4}[ \t]{0,2}:)", re.IGNORECASE | re.MULTILINE)
# A block without a question: the beginning of the answer.
_ANSWERS = re.compile(
    r"\s*(?:a|(?:so |therefore,? )?(?:the |my )?(?:final |correct )?(?:answer|result|solution))(?: is)?\s*[:=]?\s*",
    re.IGNORECASE,
)
_SOLVED = re.compile(r"(.{1,400}?)\s*[-−]?\$?\d[\d.,]{0,20}\.?\s*")
_GROUPS = ",'’_\u00a0\u2009\u202f"
# A minus sign counts as a sign only if no number precedes it. "one" may be a pronoun: see `_numbers_in`.
_NUMBER = re.compile(
    r"(?P<sign>(?<![\d)])(?<![\d)]\s)[-−])?(?P<digits>\d{1,3}(?:[" + _GROUPS + r"]\d{3})+(?!\d)|\d+)(?P<places>\.\d+)?"
    rf"|\b(?P<words>{LARGE_NUMBER_WORD_PATTERN})\b",
    re.IGNORECASE,
)
# Longer numbers are compared by their digits, not by their value.
_MOST_DIGITS = 60


def question_only(prompt: str) -> str:
    """The question without worked examples before it: the last line if it parses, otherwise all lines since a blank
    one, a ``Q:`` or a solved line."""
    return _read(prompt)[0]


def operand_key(prompt: str) -> str:
    """A key of the question's operands, the same for 3 + 5, 5 - 3 and a story about 3 and 5, in digits or words: its
    numbers, sorted as strings. For a question without numbers, or one that asks for a fact, its text."""
    return _read(prompt)[1]


@lru_cache(maxsize=MAX_PAIRS)  # a set is split, compared with others and evaluated by these keys
def _read(prompt: str) -> tuple[str, str]:
    parsed = parse_question(prompt)
    if isinstance(parsed, Reading):
        return question_text(prompt), format_operands(operand.value for operand in parsed.operands)
    if parsed is not None:
        return question_text(prompt), question_text(prompt)
    text = _question(prompt)
    return text, " ".join(sorted(_numbers_in(text)) or text.split())


def format_operands(operands: Iterable[Number]) -> str:
    """The key of a calculation with these operands, independent of its operation."""
    return " ".join(sorted(map(str, operands)))


def _question(prompt: str) -> str:
    text = prompt.replace("\r\n", "\n").rstrip()
    starts = [0, *(blank.end() for blank in _BLANK_LINE.finditer(text))]
    while len(starts) > 1 and _ANSWERS.fullmatch(text, starts[-1]):
        starts.pop()
    block = text[starts[-1] :]
    opened = [opening.end() for opening in _OPENS.finditer(block)]
    block = block[opened[-1] :] if opened else _after_examples(block)
    # A single line begins at its last "Q:".
    return (question_text(block) if "\n" not in block.strip() else block).strip()


def _after_examples(block: str) -> str:
    """The lines after the last one that is a question with its answer."""
    lines = block.split("\n")
    for number in range(len(lines) - 2, -1, -1):
        solved = _SOLVED.fullmatch(lines[number])
        if solved and (solved[1].endswith("=") or isinstance(parse_question(solved[1]), Reading)):
            return "\n".join(lines[number + 1 :])
    return block


def _numbers_in(text: str) -> list[str]:
    """The numbers of a text, in the format of `format_operands`. A "one" next to two other numbers is ignored: it is a
    pronoun, as in "which one"."""
    numbers: list[str] = []
    ones = 0
    for match in _NUMBER.finditer(unicodedata.normalize("NFC", text)):
        if match["words"]:
            value = value_of_words(match["words"])
            ones += value == 1
            numbers += [str(value)] if value != 1 else []
            continue
        digits = re.sub(f"[{_GROUPS}]", "", match["digits"]) + (match["places"] or "")
        sign = "-" if match["sign"] else ""
        numbers.append(str(Fraction(sign + digits)) if len(digits) <= _MOST_DIGITS else sign + digits)
    return numbers if len(numbers) > 1 else [*numbers, *["1"] * ones]
