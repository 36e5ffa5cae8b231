"""Numbers in English words (``twenty-five`` is 25) and as exact decimals: reading and writing."""

from __future__ import annotations

import re
from fractions import Fraction

# Exact numbers instead of floats: 0.1 + 0.2 is 0.3.
Number = int | Fraction

# fmt: off
_SMALL = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
    "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
# fmt: on
_SMALL_VALUES = {word: value for value, word in enumerate(_SMALL)}
_TENS_VALUES = {word: 10 * value for value, word in enumerate(_TENS, start=2)}

# A number word in a text: zero to ninety-nine, the hyphen optional.
NUMBER_WORD_PATTERN = (
    rf"(?:(?:{'|'.join(_TENS)})(?:(?:-|[ \t]{{1,4}})(?:{'|'.join(_SMALL[1:10])}))?|(?:{'|'.join(_SMALL)}))"
)
_HUNDREDS = rf"(?:(?:{'|'.join(_SMALL[1:10])})[ \t]{{1,4}}hundred(?:[ \t]{{1,4}}{NUMBER_WORD_PATTERN})?)"
_BELOW_A_THOUSAND = rf"(?:{_HUNDREDS}|{NUMBER_WORD_PATTERN})"
# Zero to 999 999. Without "and": in "the sum of one hundred and five" it separates two numbers.
LARGE_NUMBER_WORD_PATTERN = (
    rf"(?:{_BELOW_A_THOUSAND}[ \t]{{1,4}}thousand(?:[ \t]{{1,4}}{_BELOW_A_THOUSAND})?|{_BELOW_A_THOUSAND})"
)
_LARGEST_IN_WORDS = 999_999
_MOST_PLACES = 12
_IN_DIGITS = re.compile(
    r"(?P<sign>[-−]?)\$?(?P<whole>[0-9]{1,3}(?:,[0-9]{3}){1,4}|[0-9]{1,15})(?P<decimals>\.[0-9]{1,12})?%?", re.ASCII
)


def value_of_words(text: str) -> int:
    """The value of a text that matched `LARGE_NUMBER_WORD_PATTERN`."""
    whole = below = 0
    for word in re.split(r"[-\s]+", text.lower()):
        if word == "thousand":
            whole, below = 1_000 * below, 0
        elif word == "hundred":
            below *= 100
        else:
            below += _TENS_VALUES.get(word, 0) + _SMALL_VALUES.get(word, 0)
    return whole + below


def in_digits(value: Number, places: int = 0) -> str:
    """A terminating decimal, written exactly: at least ``places`` decimals, and no more than needed."""
    scaled, digits = Fraction(value), 0
    while scaled.denominator > 1:
        scaled, digits = scaled * 10, digits + 1
        if digits > _MOST_PLACES:
            raise ValueError(f"the decimals of {value} do not end")
    units = abs(scaled.numerator) * 10 ** max(0, places - digits)
    digits = max(places, digits)
    text = str(units).zfill(digits + 1)
    sign = "-" if value < 0 else ""
    return f"{sign}{text[:-digits]}.{text[-digits:]}" if digits else f"{sign}{text}"


def read_number(text: str) -> Number | None:
    """The exact value of a number in digits ("1,234", "-3.50", "$18"); None for other text and for overlong numbers."""
    match = _IN_DIGITS.fullmatch(text.strip())
    if match is None:
        return None
    value = Fraction(match["sign"].replace("−", "-") + match["whole"].replace(",", "") + (match["decimals"] or ""))
    return int(value) if value.denominator == 1 else value


def decimals_end(value: Fraction) -> bool:
    """True if the fraction is a terminating decimal of at most `_MOST_PLACES` places."""
    return 10**_MOST_PLACES % value.denominator == 0


def in_words(value: int, *, linked: bool = True) -> str:
    """``25`` as ``twenty-five``; numbers from a million on stay in digits.

    ``linked``: "one hundred and five"; otherwise "one hundred five", the form in which operands are parsed.
    """
    if abs(value) > _LARGEST_IN_WORDS:
        return str(value)
    if value < 0:
        return f"minus {in_words(-value, linked=linked)}"
    if value < 20:
        return _SMALL[value]
    if value < 100:
        tens, units = divmod(value, 10)
        return _TENS[tens - 2] + (f"-{_SMALL[units]}" if units else "")
    if value < 1_000:
        hundreds, rest = divmod(value, 100)
        linking = " and " if linked else " "
        return f"{_SMALL[hundreds]} hundred" + (f"{linking}{in_words(rest)}" if rest else "")
    thousands, rest = divmod(value, 1_000)
    linking = " and " if linked and 0 < rest < 100 else " "
    text = in_words(thousands, linked=linked)
    return f"{text} thousand" + (f"{linking}{in_words(rest, linked=linked)}" if rest else "")
