"""Tests of numbers in words."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arithmoscope.prompts.language.numerals import NUMBER_WORD_PATTERN, in_words, value_of_words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "zero"),
        (8, "eight"),
        (12, "twelve"),
        (20, "twenty"),
        (25, "twenty-five"),
        (100, "one hundred"),
        (342, "three hundred and forty-two"),
        (1_007, "one thousand and seven"),
        (9_801, "nine thousand eight hundred and one"),
        (-4, "minus four"),
        (1_000_000, "1000000"),
    ],
)
def test_numbers_are_written_as_people_say_them(value: int, words: str):
    assert in_words(value) == words


@given(st.integers(0, 99))
def test_every_word_up_to_ninety_nine_is_read_back(value: int):
    for words in (in_words(value), in_words(value).replace("-", " "), in_words(value).capitalize()):
        assert re.fullmatch(NUMBER_WORD_PATTERN, words, re.IGNORECASE)
        assert value_of_words(words) == value
