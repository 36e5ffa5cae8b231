"""Parser for any question: a calculation, a story that contains one, or a fact to recall."""

from __future__ import annotations

from arithmoscope.prompts.language.arithmetic import read
from arithmoscope.prompts.language.readings import Reading
from arithmoscope.prompts.language.relations import Recall, read_recall
from arithmoscope.prompts.language.stories import read_story

ParsedQuestion = Reading | Recall


def parse_question(prompt: str) -> ParsedQuestion | None:
    """The last question of ``prompt``, or None if no parser accepts all of it."""
    return read(prompt) or read_story(prompt) or read_recall(prompt)
