"""The neutral text: plain, varied, and without numbers."""

import re

from arithmoscope.prompts.language.numerals import NUMBER_WORD_PATTERN
from arithmoscope.prompts.sets.neutral_text import PASSAGES


def test_passages_are_as_long_as_they_say_and_no_two_begin_alike():
    assert len(PASSAGES) == 40
    assert all(40 <= len(passage.split()) <= 80 for passage in PASSAGES)
    assert len({tuple(passage.split()[:3]) for passage in PASSAGES}) == len(PASSAGES)


def test_neutral_passages_contain_no_numbers():
    numbers = re.compile(rf"[0-9]|\b(?:{NUMBER_WORD_PATTERN}|hundreds?|thousands?|first|second|third)\b", re.IGNORECASE)
    assert [match.group() for passage in PASSAGES for match in numbers.finditer(passage)] == []
