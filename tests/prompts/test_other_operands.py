"""Replacement operands have as many tokens as the question's own."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arithmoscope.prompts.language.arithmetic import read
from arithmoscope.prompts.language.other_operands import (
    operands_of_same_value,
    other_operands,
    ranges_of,
    wide_ranges_of,
)
from arithmoscope.prompts.language.readings import Reading


def reading_of(prompt: str) -> Reading:
    reading = read(prompt)
    assert reading is not None
    return reading


@pytest.mark.parametrize(
    ("prompt", "bounds", "ranges"),
    [
        ("3 + 5 =", None, [(1, 9), (1, 9)]),
        ("0 + 5 =", None, [(0, 9), (1, 9)]),
        ("12 + 345 =", None, [(10, 99), (100, 999)]),
        ("-3 + 5 =", None, [(-9, -1), (1, 9)]),
        ("three plus twelve is", None, [(1, 9), (10, 19)]),
        ("zero plus twenty-five is", None, [(0, 9), (20, 99)]),
        ("3 + 15 =", (0, 20), [(0, 9), (10, 20)]),
        ("3 + 5 =", (2, 6), [(2, 6), (2, 6)]),
        ("3 + 10 =", (1, 10), [(1, 9), (1, 10)]),
    ],
)
def test_ranges_follow_the_operands(prompt: str, bounds: tuple[int, int] | None, ranges: list[tuple[int, int]]):
    assert ranges_of(reading_of(prompt), bounds) == ranges


def test_wide_ranges_go_up_to_the_longest_operand_or_fill_the_bounds():
    assert wide_ranges_of(reading_of("3 + 15 ="), None) == [(0, 99), (0, 99)]
    assert wide_ranges_of(reading_of("3 + 15 ="), (2, 20)) == [(2, 20), (2, 20)]


def test_few_operands_are_all_drawn_once():
    reading = reading_of("3 + 5 =")
    drawn = list(other_operands(reading, [(1, 9), (1, 9)], Random(0)))
    assert sorted(drawn) == [(a, b) for a in range(1, 10) for b in range(1, 10)]
    assert drawn != sorted(drawn)


@given(st.sampled_from("+-/"), st.integers(100, 9_999), st.integers(100, 9_999))
def test_many_operands_are_sampled_within_their_ranges(sign: str, a: int, b: int):
    prompt = f"{a * b} / {b} =" if sign == "/" else f"{a} {sign} {b} ="
    reading = reading_of(prompt)
    ranges = ranges_of(reading, None)
    drawn = list(other_operands(reading, ranges, Random(0)))
    assert all(low <= value <= high for values in drawn for value, (low, high) in zip(values, ranges, strict=True))
    if sign == "/":
        assert sum(reading.value_with(values) is not None for values in drawn) > len(drawn) / 4


@pytest.mark.parametrize(
    "prompt",
    ["1234 + 4321 =", "9876 - 1234 =", "144 * 250 =", "9216 / 96 =", "0 * 1234 =", "4321 subtracted from 8765 is"],
)
def test_among_many_operands_some_have_the_same_value(prompt: str):
    reading = reading_of(prompt)
    drawn = list(operands_of_same_value(reading, ranges_of(reading, None), Random(0)))
    own = tuple(operand.value for operand in reading.operands)
    assert any(values != own and reading.value_with(values) == reading.value for values in drawn)
