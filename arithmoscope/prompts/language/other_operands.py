"""New operands for a question, of the same size as its own, in a random but reproducible order."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import product
from math import prod
from random import Random

from arithmoscope.contracts.prompts import Operation
from arithmoscope.prompts.language.numerals import Number
from arithmoscope.prompts.language.readings import Applied, Leaf, Operand, Reading, power

# Most candidates that are tried before a question counts as having no fitting operands.
MAX_DRAWS = 1_000
_MOST_TRIED = 40

# Smallest and largest operand, in units of its last decimal: with one decimal, 25 is 2.5.
Range = tuple[int, int]


def ranges_of(reading: Reading, bounds: Range | None) -> list[Range]:
    """The range for each operand: numbers with as many digits as its own, within the bounds."""
    return [_range(operand, bounds) for operand in reading.operands]


def wide_ranges_of(reading: Reading, bounds: Range | None) -> list[Range]:
    """Wider ranges, for a question without candidates in `ranges_of`: anything within the bounds, or up to the length
    of its longest operand."""
    longest = _of_length(max(int(abs(operand.value)) for operand in reading.operands))[1]
    words = max(99, longest if any(abs(operand.value) > 99 for operand in reading.operands) else 0)
    return [
        operand.within or _in_units(bounds or (0, min(longest, words) if operand.words else longest), operand)
        for operand in reading.operands
    ]


def other_operands(reading: Reading, ranges: list[Range], random: Random) -> Iterator[tuple[Number, ...]]:
    """Operands within the ranges: all of them if they are few, otherwise a sample with answers as long as its own."""
    for units in _other_units(reading, ranges, random):
        yield _numbers(units, reading)


def _other_units(reading: Reading, ranges: list[Range], random: Random) -> Iterator[tuple[int, ...]]:
    if prod(high - low + 1 for low, high in ranges) <= MAX_DRAWS:
        yield from _shuffled(list(product(*(range(low, high + 1) for low, high in ranges))), random)
        return
    whole = isinstance(reading.value, int) and not any(operand.places for operand in reading.operands)
    two = _two_operands(reading)
    for _ in range(MAX_DRAWS):
        values = [random.randint(low, high) for low, high in ranges]
        if two is not None and whole:
            _aim(values, two, ranges, _of_length(int(reading.value)), random)
        yield tuple(values)


def _aim(
    values: list[int], two: tuple[Operation, int, int], ranges: list[Range], answers: Range, random: Random
) -> None:
    """Changes one operand, if possible, so that the answer falls in the range ``answers`` (a division becomes
    exact)."""
    operation, left, right = two
    if operation == "divide" and values[right] > 0:
        divisor, (low, high) = values[right], ranges[left]
        least, most = -(-low // divisor), high // divisor
        if least <= most:
            values[left] = divisor * random.randint(least, most)
    elif operation in ("add", "subtract"):
        solved = _right_operand(operation, values[left], random.randint(*answers))
        if isinstance(solved, int) and ranges[right][0] <= solved <= ranges[right][1]:
            values[right] = solved


def operands_of_same_value(reading: Reading, ranges: list[Range], random: Random) -> Iterator[tuple[Number, ...]]:
    """Like `other_operands`, but solves for one of two operands, so that many candidates have the question's value."""
    two = _two_operands(reading)
    if two is None or prod(high - low + 1 for low, high in ranges) <= MAX_DRAWS:
        yield from other_operands(reading, ranges, random)
        return
    operation, left, right = two
    low, high = ranges[left]
    lefts = range(low, high + 1)
    for units in random.sample(lefts, min(len(lefts), MAX_DRAWS)):
        value = _number(units, reading.operands[left])
        exact = _right_operand(operation, value, reading.value)
        solved = None if exact is None else exact * 10 ** reading.operands[right].places
        if solved is None:  # 0 times anything
            solved = random.randint(*ranges[right])
        if solved.denominator == 1 and ranges[right][0] <= solved <= ranges[right][1]:
            other = _number(int(solved), reading.operands[right])
            yield (value, other) if left == 0 else (other, value)


def _numbers(units: tuple[int, ...], reading: Reading) -> tuple[Number, ...]:
    return tuple(_number(each, operand) for each, operand in zip(units, reading.operands, strict=True))


def _number(units: int, operand: Operand) -> Number:
    if operand.places == 0:
        return units
    value = Fraction(units, 10**operand.places)
    return int(value) if value.denominator == 1 else value


def _in_units(limits: Range, operand: Operand) -> Range:
    return limits[0] * 10**operand.places, limits[1] * 10**operand.places


def _two_operands(reading: Reading) -> tuple[Operation, int, int] | None:
    """Operation and indices of the left and right operand, if the question has exactly two."""
    match reading.expression:
        case Applied(operation, Leaf(left), Leaf(right)):
            return operation, left, right
        case _:
            return None


def _right_operand(operation: Operation, left: Number, value: Number) -> Number | None:
    match operation:
        case "add":
            return value - left
        case "subtract":
            return left - value
        case "multiply":
            return _quotient(value, left)
        case "divide":
            return _quotient(left, value)
        case "power":
            return next((exponent for exponent in range(_MOST_TRIED) if power(left, exponent) == value), None)


def _quotient(dividend: Number, divisor: Number) -> Number | None:
    """The exact quotient; None for a division by zero, and for whole numbers that do not divide."""
    if divisor == 0:
        return None
    if isinstance(dividend, int) and isinstance(divisor, int):
        return dividend // divisor if dividend % divisor == 0 else None
    return Fraction(dividend) / divisor


def _range(operand: Operand, bounds: Range | None) -> Range:
    if operand.within:
        return operand.within
    size = int(abs(operand.value) * 10**operand.places)
    bounds = None if bounds is None else _in_units(bounds, operand)
    if operand.words and size:
        low, high = next((limits for limits in ((1, 9), (10, 19), (20, 99)) if size <= limits[1]), _of_length(size))
    else:
        low, high = _of_length(size)
        low = low if size == 0 or bounds else max(low, 1)
    if operand.value < 0:
        low, high = -high, -low
    if bounds is None:
        return low, high
    within = max(low, bounds[0]), min(high, bounds[1])
    return within if within[0] < within[1] else bounds


def _of_length(value: int) -> Range:
    """The range of whole numbers with as many digits and the same sign."""
    digits = len(str(abs(value)))
    low, high = 10 ** (digits - 1) if digits > 1 else 0, 10**digits - 1
    return (-high, -low) if value < 0 else (low, high)


def _shuffled(items: list[tuple[int, ...]], random: Random) -> list[tuple[int, ...]]:
    random.shuffle(items)
    return items
