"""Parser for stories: their operands, the words that state the operation, and the answer.

A story is matched as a whole by the row that generated it, and so has roles, counterfactuals and worked examples
like a plain question. Typed stories are matched, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from arithmoscope.contracts.prompts import Operation, Topic
from arithmoscope.prompts.language.numerals import LARGE_NUMBER_WORD_PATTERN, in_digits, value_of_words
from arithmoscope.prompts.language.questions import Span, last_question
from arithmoscope.prompts.language.readings import Applied, Leaf, Operand, Operator, Reading, exact_value
from arithmoscope.prompts.language.story_templates import STORIES
from arithmoscope.prompts.language.templates import Template

MAX_STORY_CHARACTERS = 400
# Years in stories.
YEARS = (1100, 1999)
_NUMBER = rf"[0-9]{{1,9}}|(?ai:{LARGE_NUMBER_WORD_PATTERN})"
_ENDS_IN_EQUALS = re.compile(r"(?<=\s)is\Z")
_CUE = re.compile(r"\[([^\]|]*)(?:\|([^\]]*))?\]")


@dataclass(frozen=True, slots=True)
class Story:
    """One wording: its template, the pattern that matches it, and the words that would state another operation."""

    topic: Topic
    template: Template
    pattern: re.Pattern[str]
    alternative: str


@lru_cache(maxsize=1)
def stories() -> tuple[Story, ...]:
    """Every wording of every row: a row with two cues is one wording for each of its operations."""
    wordings: list[Story] = []
    for topic, operation, other, text in STORIES:
        cue = _CUE.search(text)
        if cue is None:
            raise ValueError(f"the story {text!r} has no words in brackets")
        first, second = cue[1], cue[2] or ""
        wordings.append(_story(topic, operation, text, cue, first, second))
        if other is not None:
            wordings.append(_story(topic, other, text, cue, second, first))
    return tuple(wordings)


def _story(topic: Topic, operation: Operation, text: str, cue: re.Match[str], words: str, alternative: str) -> Story:
    before, after = text[: cue.start()], text[cue.end() :]
    pattern = f"{_pattern(before)}(?P<operator>{re.escape(words)}){_pattern(after)}"
    style = "question" if text.startswith("Q:") else "statement"
    return Story(topic, Template(operation, style, f"{before}{words}{after}"), re.compile(pattern), alternative)


def _pattern(text: str) -> str:
    escaped = re.escape(text)
    for name, number in (("a", _NUMBER), ("b", _NUMBER), ("stem", "[0-9]{0,9}")):
        escaped = escaped.replace(rf"\{{{name}\}}", f"(?P<{name}>{number})")
    # The prompt may end before the stem of a year.
    return escaped.replace(r"\ (?P<stem>", r"(?:\ |\Z)(?P<stem>")


def read_story(prompt: str) -> Reading | None:
    """The story in a prompt's last question, or None if it matches no row."""
    question = last_question(prompt)
    if question[1] - question[0] > MAX_STORY_CHARACTERS:
        return None
    for story in stories():
        match = story.pattern.fullmatch(prompt, *question)
        if match:
            return _reading(story, match, question)
    return None


def _reading(story: Story, match: re.Match[str], question: Span) -> Reading | None:
    in_order = sorted(("a", "b"), key=match.start)
    is_year = story.topic == "year_span"
    operands = tuple(_operand(match, name, YEARS if is_year and name == "b" else None) for name in in_order)
    # The year is the left operand, the span the right one: 1723 + 5, 1723 - 5.
    left, right = ("b", "a") if is_year else ("a", "b")
    operation = story.template.operation
    expression = Applied(operation, Leaf(in_order.index(left)), Leaf(in_order.index(right)))
    value = exact_value(expression, [operand.value for operand in operands], decimals=False)
    if value is None:
        return None
    stem = match.span("stem") if is_year and match["stem"] else None
    if stem:
        year, whole = match[left], in_digits(value)
        if not (len(whole) > len(match["stem"]) and whole.startswith(match["stem"]) and year.startswith(match["stem"])):
            return None
    operator = Operator(match.span("operator"), operation, "story", alternative=story.alternative)
    sign = _ENDS_IN_EQUALS.search(match.string, *question)
    return Reading(question, operands, (operator,), sign.span() if sign else None, expression, value, stem)


def _operand(match: re.Match[str], name: str, within: Span | None) -> Operand:
    text = match[name]
    words = not text.isdecimal()
    return Operand(match.span(name), value_of_words(text) if words else int(text), words, within=within)
