"""Whole numbers in English words, both ways: ``twenty-five`` is 25."""

from __future__ import annotations

import re

# fmt: off
_SMALL = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
    "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
# fmt: on
_SMALL_VALUES = {word: value for value, word in enumerate(_SMALL)}
_TENS_VALUES = {word: 10 * value for value, word in enumerate(_TENS, start=2)}

# A number word as it stands in a text: zero to ninety-nine, the hyphen optional.
NUMBER_WORD_PATTERN = (
    rf"(?:(?:{'|'.join(_TENS)})(?:(?:-|[ \t]{{1,4}})(?:{'|'.join(_SMALL[1:10])}))?|(?:{'|'.join(_SMALL)}))"
)
_LARGEST_IN_WORDS = 999_999


def value_of_words(text: str) -> int:
    """The value of a text that matched `NUMBER_WORD_PATTERN`."""
    words = re.split(r"[-\s]+", text.lower())
    return sum(_TENS_VALUES.get(word, 0) + _SMALL_VALUES.get(word, 0) for word in words)


def in_words(value: int) -> str:
    """``25`` as ``twenty-five``; digits from a million on, where nobody writes words."""
    if abs(value) > _LARGEST_IN_WORDS:
        return str(value)
    if value < 0:
        return f"minus {in_words(-value)}"
    if value < 20:
        return _SMALL[value]
    if value < 100:
        tens, units = divmod(value, 10)
        return _TENS[tens - 2] + (f"-{_SMALL[units]}" if units else "")
    if value < 1_000:
        hundreds, rest = divmod(value, 100)
        return f"{_SMALL[hundreds]} hundred" + (f" and {in_words(rest)}" if rest else "")
    thousands, rest = divmod(value, 1_000)
    linking = " and " if 0 < rest < 100 else " "
    return f"{in_words(thousands)} thousand" + (f"{linking}{in_words(rest)}" if rest else "")
