"""Words and signs of arithmetic, and the lexer that finds them: one pass, linear in the text."""

from __future__ import annotations

import re
from dataclasses import dataclass

from arithmoscope.contracts.prompts import Operation
from arithmoscope.prompts.language.numerals import LARGE_NUMBER_WORD_PATTERN
from arithmoscope.prompts.language.questions import Span

# A question with more lexemes is not parsed.
MAX_LEXEMES = 256

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
    "^": "power",
    "**": "power",
}
# Infix words; the longest match wins. True: the operands are in reverse order ("3 subtracted from 5").
INFIX_WORDS: dict[tuple[str, ...], tuple[Operation, bool]] = {
    ("plus",): ("add", False),
    ("added", "to"): ("add", False),
    ("increased", "by"): ("add", False),
    ("minus",): ("subtract", False),
    ("less",): ("subtract", False),
    ("take", "away"): ("subtract", False),
    ("reduced", "by"): ("subtract", False),
    ("subtracted", "from"): ("subtract", True),
    ("times",): ("multiply", False),
    ("multiplied", "by"): ("multiply", False),
    ("divided", "by"): ("divide", False),
    ("over",): ("divide", False),
    ("to", "the", "power", "of"): ("power", False),
    ("to", "the", "power"): ("power", False),
    ("raised", "to", "the", "power", "of"): ("power", False),
    ("raised", "to", "the", "power"): ("power", False),
    ("raised", "to"): ("power", False),
}
LONGEST_INFIX = max(len(words) for words in INFIX_WORDS)
NOUNS: dict[str, Operation] = {
    "sum": "add",
    "addition": "add",
    "total": "add",
    "difference": "subtract",
    "subtraction": "subtract",
    "product": "multiply",
    "multiplication": "multiply",
    "quotient": "divide",
    "division": "divide",
}
# Verbs, and the connectives between their operands.
VERBS: dict[str, tuple[Operation, tuple[str, ...]]] = {
    "add": ("add", ("and", "to")),
    "subtract": ("subtract", ("from",)),
    "multiply": ("multiply", ("by", "and", "with")),
    "divide": ("divide", ("by",)),
    "adding": ("add", ("and", "to")),
    "subtracting": ("subtract", ("from",)),
    "multiplying": ("multiply", ("by", "and", "with")),
    "dividing": ("divide", ("by",)),
}
EQUALS = (
    ("is", "equal", "to"),
    ("equals", "to"),
    ("equals",),
    ("equal",),
    ("gives",),
    ("makes",),
    ("comes", "to"),
    ("is",),
    ("=",),
)
# Words that may precede the expression. "the" also opens "the sum of".
# fmt: off
LEAD_IN = frozenset((
    "what", "whats", "s", "is", "are", "how", "much", "does", "do", "calculate", "compute", "evaluate", "find", "solve",
    "please", "the", "result", "value", "answer", "of", "work", "out", "tell", "me", "q", "question",
    "raise", "raising", "outcome", "can", "you", "to",
))
# fmt: on
SENTENCE_ENDS = frozenset(".;!?")

# (?ai: ASCII letters only: "ſix" is no number.
_LEXEME = re.compile(
    rf"(?P<number>[0-9]+(?:\.[0-9]+)?|(?<![^\W_])(?ai:{LARGE_NUMBER_WORD_PATTERN})(?![^\W_]))"
    r"|(?P<word>[^\W\d_]+)|(?P<sign>\*\*|\S)"
)


@dataclass(frozen=True, slots=True)
class Lexeme:
    """A number, a word or a single other character, in lower case, with its offsets in the whole prompt."""

    kind: str
    text: str
    start: int
    end: int


def lexemes_of(prompt: str, question: Span) -> list[Lexeme]:
    """The question's lexemes; stops after `MAX_LEXEMES` + 1."""
    lexemes: list[Lexeme] = []
    for match in _LEXEME.finditer(prompt, *question):
        lexemes.append(Lexeme(match.lastgroup or "", match.group().lower(), match.start(), match.end()))
        if len(lexemes) > MAX_LEXEMES:
            break
    return lexemes
