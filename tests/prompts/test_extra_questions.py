"""Decimals, powers and answers of any kind: counted and indexed without being listed, exact to the last digit."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arithmoscope.contracts.prompts import Operation
from arithmoscope.prompts.language.numerals import decimals_end, in_digits
from arithmoscope.prompts.sets.extra_questions import MAX_ANSWER, MAX_EXPONENT, ExtraQuestions

FIVE: tuple[Operation, ...] = ("add", "subtract", "multiply", "divide", "power")


def listed(
    operation: Operation, operands: tuple[int, int], answers: set[int] | None, decimals: int
) -> list[tuple[Fraction, Fraction]]:
    """All questions by brute force over pairs, with ordinary fractions."""
    scale = 10**decimals
    low, high = operands
    firsts = [Fraction(units, scale) for units in range(low * scale, high * scale + 1)]
    whole = [Fraction(number) for number in range(low, high + 1)]
    pairs: list[tuple[Fraction, Fraction]] = []
    for a in firsts:
        for b in firsts if operation in ("add", "subtract") else whole:
            if operation == "add":
                value = a + b
            elif operation == "subtract":
                value = a - b
            elif operation == "multiply":
                value = a * b
            elif operation == "divide":
                if b == 0 or (a / b * scale).denominator > 1:
                    continue
                value = a / b
            else:
                if b > MAX_EXPONENT or a == b == 0 or a ** int(b) > MAX_ANSWER:
                    continue
                value = a ** int(b)
            if value >= 0 and (answers is None or value in answers):
                pairs.append((a, b))
    return pairs


@settings(max_examples=150)
@given(
    st.sampled_from(FIVE),
    st.tuples(st.integers(0, 14), st.integers(0, 14)).map(lambda limits: (min(limits), max(limits))),
    st.none() | st.sets(st.integers(0, 60), max_size=20),
    st.integers(0, 1),
)
def test_offers_are_those_found_by_trying_every_pair(
    operation: Operation, operands: tuple[int, int], answers: set[int] | None, decimals: int
):
    offers = ExtraQuestions(operation, operands, answers, decimals)
    numbered = [offers[number] for number in range(len(offers))]
    assert sorted(numbered) == sorted(listed(operation, operands, answers, decimals))
    assert all(pair in offers for pair in numbered[:20])
    assert all(isinstance(part, int) or part.denominator > 1 for pair in numbered for part in pair)
    assert (operands[1] + 1, operands[0]) not in offers
    with pytest.raises(IndexError):
        offers[len(offers)]


@pytest.mark.parametrize(("operation", "count"), [("add", 99_991**2), ("divide", None), ("power", None)])
def test_the_largest_range_is_counted_without_listing_it(operation: Operation, count: int | None):
    offers = ExtraQuestions(operation, (0, 9_999), None, 1)
    assert len(offers) == (count or len(offers)) > 100_000
    a, b = offers[len(offers) - 1]
    assert (a, b) in offers


@given(st.integers(-(10**9), 10**9), st.integers(0, 6), st.integers(0, 4))
def test_a_number_is_written_exactly(units: int, places: int, least: int):
    value = Fraction(units, 10**places)
    digits = in_digits(value, least)
    assert Fraction(digits) == value
    assert len(digits.partition(".")[2]) >= least
    assert decimals_end(value)
    if least == 0:
        assert not digits.endswith(".")
        assert "." not in digits or not digits.endswith("0")


def test_a_number_without_end_is_not_written():
    assert not decimals_end(Fraction(1, 3))
    with pytest.raises(ValueError, match="do not end"):
        in_digits(Fraction(1, 3))
