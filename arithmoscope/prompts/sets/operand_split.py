"""Splits by operands: components are found on some operands and evaluated on others."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

from arithmoscope.contracts.argument_words import Range
from arithmoscope.contracts.arguments import check_arguments
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import PromptPair
from arithmoscope.prompts.language.question_operands import operand_key

# Use of a question in a fine-tuning.
Use = Literal["train", "validation", "test"]
# Operands placed below 0.8 are for training, those below 0.9 for validation, the rest for testing. The first side of
# the split in halves ends at 0.5: components found on it are tested on operands that their analysis never used.
_TRAINED, _VALIDATED = 0.8, 0.9
# With this many operands a part needs no more.
_ENOUGH = 8


def operands_of(pair: PromptPair) -> str:
    """The key of a question's operands: `operand_key` of the reference."""
    return operand_key(pair.reference)


def on_first_side(pair: PromptPair, share: float = 0.5, seed: int = 0) -> bool:
    """True if the question's operands fall on the first side of a split; depends on them and the seed alone."""
    return on_first_side_of(operands_of(pair), share, seed)


def on_first_side_of(operands: str, share: float = 0.5, seed: int = 0) -> bool:
    """Like `on_first_side`, for a key from `operands_of`."""
    return _place_of(operands, seed) < share


def _place_of(operands: str, seed: int = 0) -> float:
    """A pseudo-random place of the operands in [0, 1), always the same."""
    digest = hashlib.sha256(f"{seed} {operands}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


@check_arguments(share=Range(0, 1, inside=True))
def split_operands(
    pairs: Sequence[PromptPair], share: float = 0.5, seed: int = 0
) -> tuple[list[PromptPair], list[PromptPair]]:
    """Splits a set into two that share no operands.

    The side of a question depends on its operands and the seed alone: the first side of one set and the second side of
    another, split alike, share no operands either.

    Args:
        pairs: The set.
        share: Share of the operands on the first side, between 0 and 1.
        seed: Seed of the split.

    Returns:
        The pairs of the first side and those of the second, each in order.

    Raises:
        Refusal: ``bad_request`` if the share is not between 0 and 1.

    Example:
        >>> first, second = am.split_operands(pairs, share=0.5)
        >>> len(first) + len(second) == len(pairs)
        True
    """
    if not 0 < share < 1:
        raise Refusal("bad_request", f"The share is {share}; it must be between 0 and 1.", "Choose another share.")
    sides: tuple[list[PromptPair], list[PromptPair]] = ([], [])
    for pair in pairs:
        sides[not on_first_side(pair, share, seed)].append(pair)
    return sides


def shared_operands(found_on: Sequence[PromptPair], evaluated_on: Sequence[PromptPair]) -> list[str]:
    """Keys of the operands that occur in both sets, as from `operands_of`."""
    return sorted({operands_of(pair) for pair in found_on} & {operands_of(pair) for pair in evaluated_on})


def split_in_three(pairs: Sequence[PromptPair]) -> dict[Use, list[PromptPair]]:
    """Splits a set into three that share no operands: about 80 % training, 10 % validation and 10 % test.

    A question's use depends on its operands alone, as long as about a tenth of them fall to validation and to test. In
    a small set the operands with the next places fill up these two parts; they are on the second side
    (`on_first_side`) as far as that has any.
    """
    operands = [operands_of(pair) for pair in pairs]
    ordered = sorted({*operands}, key=_place_of, reverse=True)
    held = {least: sum(_place_of(key) >= least for key in ordered) for least in (_TRAINED, _VALIDATED)}
    most = max(0, len(ordered) - 1)
    tested = min(max(held[_VALIDATED], _fewest(len(ordered), 3)), most)
    validated = min(max(held[_TRAINED] - tested, _fewest(len(ordered), 1)), most - tested)
    uses: dict[str, Use] = dict.fromkeys(ordered[: tested + validated], "validation")
    uses |= dict.fromkeys(ordered[:tested], "test")
    parts: dict[Use, list[PromptPair]] = {"train": [], "validation": [], "test": []}
    for pair, key in zip(pairs, operands, strict=True):
        parts[uses.get(key, "train")].append(pair)
    return parts


def _fewest(operands: int, least: int) -> int:
    """The fewest operands of a part: a tenth of all or ``least``, but no more than leaves some for training."""
    return min(max(least, operands // 10), _ENOUGH, max(1, operands // 3))
