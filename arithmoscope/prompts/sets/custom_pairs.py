"""Checks of typed prompt pairs that need no vocabulary: a question, an answer, and a counterfactual must exist.

Uploads and prepared sets use the same checks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import CustomPair
from arithmoscope.prompts.language.numerals import LARGE_NUMBER_WORD_PATTERN
from arithmoscope.prompts.language.parse_question import ParsedQuestion, parse_question
from arithmoscope.prompts.language.questions import question_text

# A number as the answer of a calculation, with an optional unit: 8, -3.50, $1,234, 2,5, 1/2, 12 %, 8 sheep.
_DIGITS = r"[0-9]+(?:,[0-9]{3})*(?:[.,/][0-9]+)?\s?%?"
_WORDS = LARGE_NUMBER_WORD_PATTERN
_NUMBER = re.compile(
    rf"(?:[-−+]\s?)?[$€£]?{_DIGITS}(?:\s+[^\W\d_].*)?\.?|(?:(?:minus|negative) )?{_WORDS}(?:\s+[^\W\d_].*)?\.?",
    re.IGNORECASE | re.DOTALL,
)
_AND = re.compile(r"(?<=hundred|housand)\s+and(?=\s)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class AnsweredPair:
    """A pair with its answer. ``reading`` is None if the reference does not parse; then the pair itself gives answer
    and counterfactual."""

    pair: CustomPair
    reading: ParsedQuestion | None
    answer: str


def with_answer(pair: CustomPair) -> AnsweredPair:
    """The pair with its answer, given or computed.

    Raises:
        Refusal: ``empty_prompt``, ``no_arithmetic`` or ``no_counterfactual`` if no model could run the pair.
    """
    # A trailing line end would count as white space before the answer.
    pair = pair.model_copy(update={"reference": pair.reference.rstrip("\r\n")})
    if not pair.reference.strip():
        raise Refusal("empty_prompt", "The reference prompt is empty.")
    reading = parse_question(pair.reference)
    answer = pair.answer if pair.answer is not None else reading and reading.answer
    if answer is None:
        raise Refusal("no_arithmetic", f"{quoted(pair.reference)} is not arithmetic that can be read.")
    if pair.counterfactual is not None and not pair.counterfactual.strip():
        raise Refusal("empty_prompt", "The counterfactual prompt is empty.", "Type it, or leave it out.")
    if pair.counterfactual is None and reading is None:
        raise Refusal(
            "no_counterfactual",
            f"{quoted(pair.reference)} is not arithmetic that can be read, so no counterfactual can be made from it.",
            "Give the counterfactual prompt yourself.",
        )
    return AnsweredPair(pair, reading, answer)


def is_number(answer: str) -> bool:
    """True if the text is a number in digits or English words, with an optional unit: "8", "-3.50", "8 sheep"."""
    return _NUMBER.fullmatch(_AND.sub("", answer.strip())) is not None


def quoted(prompt: str) -> str:
    """The question of a prompt for use in a message: quoted, at most 80 characters."""
    text = question_text(prompt)
    return repr(text if len(text) <= 80 else f"{text[:79]}…")
