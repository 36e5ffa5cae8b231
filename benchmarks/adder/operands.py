"""Operands of the training lines, and those that are held out: a pair of operands is either trained on or examined.

Sums, differences, quotients and powers take operands up to 99, products a second factor of one digit; no answer is
negative and no division has a remainder. `HELD_OUT_SHARE` of the pairs of each operation is never trained on, in any
wording, in words, or as the last digits of two years.
"""

from __future__ import annotations

import hashlib
from functools import cache
from random import Random

from arithmoscope.contracts.prompt_terms import Operation

OPERATIONS: tuple[Operation, ...] = ("add", "subtract", "multiply", "divide", "power")
HELD_OUT_SHARE = 0.15
_LARGEST_POWER = 1_000
# Probability that training draws from the pairs that fit the one-digit tables.
_FROM_THE_TABLES = {"add": 0.2, "subtract": 0.2, "multiply": 0.7, "divide": 0.6, "power": 0.6}

Pair = tuple[int, int]


def value(operation: Operation, a: int, b: int) -> int:
    """The answer."""
    match operation:
        case "add":
            return a + b
        case "subtract":
            return a - b
        case "multiply":
            return a * b
        case "divide":
            return a // b
        case "power":
            return a**b


@cache
def all_pairs(operation: Operation) -> tuple[Pair, ...]:
    """Every pair of operands that is trained on or examined."""
    below = range(100)
    match operation:
        case "add":
            return tuple((a, b) for a in below for b in below)
        case "subtract":
            return tuple((a, b) for a in below for b in range(a + 1))
        case "multiply":
            return tuple((a, b) for a in below for b in below if min(a, b) < 10)
        case "divide":
            return tuple((a, b) for a in below for b in range(1, 100) if a % b == 0)
        case "power":
            return tuple(
                (a, b) for a in below for b in range(10) if (a, b) != (0, 0) and (b < 2 or a**b < _LARGEST_POWER)
            )


def is_in_tables(operation: Operation, a: int, b: int) -> bool:
    """True for the questions of the one-digit tables: 3 + 5, 9 - 4, 6 * 7, 42 / 6, 3 ^ 4."""
    return b < 10 and (value("divide", a, b) if operation == "divide" else a) < 10


@cache
def is_held_out(operation: Operation, a: int, b: int) -> bool:
    """True for a pair that is never trained on. 3 + 5 and 5 + 3 are held out together. So are products of two digits
    by one; of the table up to 9 * 9 one order at most, because nothing but the other order could tell the answer."""
    in_order = (min(a, b), max(a, b)) if operation in ("add", "multiply") else (a, b)
    if operation == "multiply" and is_in_tables(operation, a, b) and a >= b:
        return False
    digest = hashlib.sha256(f"{operation} {in_order}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < HELD_OUT_SHARE * 2**64


@cache
def _trained(operation: Operation, tables: bool) -> tuple[Pair, ...]:
    pairs = (pair for pair in all_pairs(operation) if not is_held_out(operation, *pair))
    return tuple(pair for pair in pairs if not tables or is_in_tables(operation, *pair))


def draw(operation: Operation, rng: Random) -> Pair:
    """Operands to train on: smaller ones are more frequent than their share of all pairs."""
    if rng.random() < _FROM_THE_TABLES[operation]:
        return rng.choice(_trained(operation, True))
    return rng.choice(_trained(operation, False))


def examined(operation: Operation, *, tables: bool, held_out: bool) -> list[Pair]:
    """All pairs of one kind in a fixed random order; of 3 + 5 and 5 + 3 one, so that no two ask the same sum."""
    pairs: dict[tuple[int, ...], Pair] = {}
    found = [
        pair
        for pair in all_pairs(operation)
        if is_held_out(operation, *pair) == held_out and is_in_tables(operation, *pair) == tables
    ]
    Random(f"{operation} {tables} {held_out}").shuffle(found)
    for pair in found:
        pairs.setdefault(tuple(sorted(pair)) if operation in ("add", "multiply") else pair, pair)
    return list(pairs.values())
