"""Other operands for a question: of the same size as its own, in a random but repeatable order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod
from random import Random

from contracts.prompts import Operation
from prompts.readings import Applied, Leaf, Operand, Reading

# How many other operands are looked at, at most, before a question counts as having none that fit.
MAX_DRAWS = 1_000

Range = tuple[int, int]


def ranges_of(reading: Reading, bounds: Range | None) -> list[Range]:
    """The smallest and largest number for each operand's place: those as long as its own, within the bounds."""
    return [_range(operand, bounds) for operand in reading.operands]


def wide_ranges_of(reading: Reading, bounds: Range | None) -> list[Range]:
    """For a question with no others among `ranges_of`: anything within the bounds, or up to its longest operand."""
    longest = _of_length(max(abs(operand.value) for operand in reading.operands))[1]
    return [bounds or (0, min(longest, 99) if operand.words else longest) for operand in reading.operands]


def other_operands(reading: Reading, ranges: list[Range], random: Random) -> Iterator[tuple[int, ...]]:
    """Operands within the ranges: all of them where there are few, else a sample with answers as long as its own."""
    if prod(high - low + 1 for low, high in ranges) <= MAX_DRAWS:
        yield from _shuffled(list(product(*(range(low, high + 1) for low, high in ranges))), random)
        return
    two = _two_operands(reading)
    for _ in range(MAX_DRAWS):
        values = [random.randint(low, high) for low, high in ranges]
        if two is not None:
            _aim(values, two, ranges, _of_length(reading.value), random)
        yield tuple(values)


def _aim(
    values: list[int], two: tuple[Operation, int, int], ranges: list[Range], answers: Range, random: Random
) -> None:
    """Moves one operand so that the answer falls among ``answers`` (a division: comes out even), if it can be."""
    operation, left, right = two
    if operation == "divide" and values[right] > 0:
        divisor, (low, high) = values[right], ranges[left]
        least, most = -(-low // divisor), high // divisor
        if least <= most:
            values[left] = divisor * random.randint(least, most)
    elif operation in ("add", "subtract"):
        solved = _right_operand(operation, values[left], random.randint(*answers))
        if solved is not None and ranges[right][0] <= solved <= ranges[right][1]:
            values[right] = solved


def operands_of_same_value(reading: Reading, ranges: list[Range], random: Random) -> Iterator[tuple[int, ...]]:
    """As `other_operands`, but of two operands one is solved for, so that many give the question's own value."""
    two = _two_operands(reading)
    if two is None or prod(high - low + 1 for low, high in ranges) <= MAX_DRAWS:
        yield from other_operands(reading, ranges, random)
        return
    operation, left, right = two
    low, high = ranges[left]
    lefts = range(low, high + 1)
    for value in random.sample(lefts, min(len(lefts), MAX_DRAWS)):
        solved = _right_operand(operation, value, reading.value)
        if solved is None:  # 0 times anything
            solved = random.randint(*ranges[right])
        if ranges[right][0] <= solved <= ranges[right][1]:
            yield (value, solved) if left == 0 else (solved, value)


def _two_operands(reading: Reading) -> tuple[Operation, int, int] | None:
    """The operation and the numbers of its left and right operand, when the question is no more than that."""
    match reading.expression:
        case Applied(operation, Leaf(left), Leaf(right)):
            return operation, left, right
        case _:
            return None


def _right_operand(operation: Operation, left: int, value: int) -> int | None:
    match operation:
        case "add":
            return value - left
        case "subtract":
            return left - value
        case "multiply":
            return value // left if left and value % left == 0 else None
        case "divide":
            return left // value if value and left % value == 0 else None


def _range(operand: Operand, bounds: Range | None) -> Range:
    size = abs(operand.value)
    if operand.words and size:
        low, high = next(limits for limits in ((1, 9), (10, 19), (20, 99)) if size <= limits[1])
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
    """The whole numbers with as many digits, and the same sign."""
    digits = len(str(abs(value)))
    low, high = 10 ** (digits - 1) if digits > 1 else 0, 10**digits - 1
    return (-high, -low) if value < 0 else (low, high)


def _shuffled(items: list[tuple[int, ...]], random: Random) -> list[tuple[int, ...]]:
    random.shuffle(items)
    return items
