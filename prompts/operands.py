"""Other operands for a question: of the same size as its own, in a random but repeatable order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod
from random import Random

from contracts.prompts import Operation
from prompts.arithmetic import Applied, Leaf, Operand, Reading

# How many other operands are looked at, at most, before a question counts as having none that fit.
MAX_DRAWS = 1_000

Range = tuple[int, int]


def ranges_of(reading: Reading, bounds: Range | None) -> list[Range]:
    """The smallest and largest number for each operand's place: the bounds, or those written as long as its own."""
    return [bounds or _same_length(operand) for operand in reading.operands]


def other_operands(reading: Reading, ranges: list[Range], random: Random) -> Iterator[tuple[int, ...]]:
    """Operands within the ranges: all of them where there are few, else a sample; divisions come out even."""
    if prod(high - low + 1 for low, high in ranges) <= MAX_DRAWS:
        yield from _shuffled(list(product(*(range(low, high + 1) for low, high in ranges))), random)
        return
    two = _two_operands(reading)
    for _ in range(MAX_DRAWS):
        values = [random.randint(low, high) for low, high in ranges]
        if two is not None and two[0] == "divide":
            _, left, right = two
            low, high = ranges[left]
            divisor = values[right]
            if divisor < 1 or -(-low // divisor) > high // divisor:
                continue
            values[left] = divisor * random.randint(-(-low // divisor), high // divisor)
        yield tuple(values)


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
        if solved is not None and ranges[right][0] <= solved <= ranges[right][1]:
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


def _same_length(operand: Operand) -> Range:
    size = abs(operand.value)
    if size == 0:
        return 0, 9
    if operand.words:
        low, high = next(limits for limits in ((1, 9), (10, 19), (20, 99)) if size <= limits[1])
    else:
        low, high = 10 ** (len(str(size)) - 1), 10 ** len(str(size)) - 1
    return (-high, -low) if operand.value < 0 else (low, high)


def _shuffled(items: list[tuple[int, ...]], random: Random) -> list[tuple[int, ...]]:
    random.shuffle(items)
    return items
