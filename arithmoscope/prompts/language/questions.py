"""The last question of a prompt; everything before it is an example of how to answer."""

from __future__ import annotations

import re

Span = tuple[int, int]

# "Q:" or "Question 3:" opens a question, "A:" or "Answer:" opens its answer.
_OPENS_QUESTION = re.compile(r"(?<![^\W_])(?:q|question)[ \t]{0,2}[0-9]{0,4}[ \t]{0,2}:", re.IGNORECASE)
_ONLY_OPENS_ANSWER = re.compile(r"\s*(?:a|answer)\s{0,2}:\s*", re.IGNORECASE)


def last_question(prompt: str) -> Span:
    """Character offsets of the last question, without the white space around it.

    The question is the last non-blank line, joined to the line before if it only opens the answer (``A:``), and begins
    at the last ``Q:`` in it. A blank prompt gives an empty span at its end.
    """
    end = len(prompt.rstrip())
    start = prompt.rfind("\n", 0, end) + 1
    if start and _ONLY_OPENS_ANSWER.fullmatch(prompt, start, end):
        start = prompt.rfind("\n", 0, len(prompt[:start].rstrip())) + 1
    for opening in _OPENS_QUESTION.finditer(prompt, start, end):
        start = opening.start()
    return start + len(prompt[start:end]) - len(prompt[start:end].lstrip()), end


def question_text(prompt: str) -> str:
    """The text of the last question."""
    start, end = last_question(prompt)
    return prompt[start:end]
