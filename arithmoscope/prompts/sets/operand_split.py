"""Sets that share no operands: components are chosen on some and judged on others."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import PromptPair
from arithmoscope.prompts.language.question_operands import about

# What a fine-tuning does with a question.
Use = Literal["train", "validation", "test"]
# Up to here operands are trained on, and up to here validated with. Below a half they are on the first side, too: what
# an analysis of that half found is judged on operands that it never saw.
_TRAINED, _VALIDATED = 0.8, 0.9
# Operands that so many of fall to a use by themselves are as many as it takes.
_ENOUGH = 8


def operands_of(pair: PromptPair) -> str:
    """What a question is about, as `arithmoscope.prompts.language.question_operands.about` writes it."""
    return about(pair.reference)


def on_first_side(pair: PromptPair, share: float = 0.5, seed: int = 0) -> bool:
    """Which side of a split a question's operands fall on: by them and the seed alone, whatever set it stands in."""
    return on_first_side_of(operands_of(pair), share, seed)


def on_first_side_of(operands: str, share: float = 0.5, seed: int = 0) -> bool:
    """The same, of what `operands_of` gives."""
    return _place_of(operands, seed) < share


def _place_of(operands: str, seed: int = 0) -> float:
    """Where operands fall between 0 and 1, by chance and always the same."""
    digest = hashlib.sha256(f"{seed} {operands}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


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
    """Operands that both sets ask about, as `operands_of` writes them."""
    return sorted({operands_of(pair) for pair in found_on} & {operands_of(pair) for pair in evaluated_on})


def split_in_three(pairs: Sequence[PromptPair]) -> dict[Use, list[PromptPair]]:
    """A set in three that share no operands: eight tenths to train on, one to look at meanwhile, one to judge by.

    Each is used by its operands alone, whatever set it stands in, as long as about a tenth of them fall to the last
    two. Of a small set those follow that came nearest to it: they are on the second side (of `on_first_side`) as far as
    that has any.
    """
    operands = [operands_of(pair) for pair in pairs]
    ordered = sorted({*operands}, key=_place_of, reverse=True)
    held = {least: sum(_place_of(each) >= least for each in ordered) for least in (_TRAINED, _VALIDATED)}
    most = max(0, len(ordered) - 1)
    tested = min(max(held[_VALIDATED], _fewest(len(ordered), 3)), most)
    validated = min(max(held[_TRAINED] - tested, _fewest(len(ordered), 1)), most - tested)
    uses: dict[str, Use] = dict.fromkeys(ordered[: tested + validated], "validation")
    uses |= dict.fromkeys(ordered[:tested], "test")
    parts: dict[Use, list[PromptPair]] = {"train": [], "validation": [], "test": []}
    for pair, asked in zip(pairs, operands, strict=True):
        parts[uses.get(asked, "train")].append(pair)
    return parts


def _fewest(operands: int, wanted: int) -> int:
    """How many of so many operands are judged by at least: a tenth, and no more than leaves some to train on."""
    return min(max(wanted, operands // 10), _ENOUGH, max(1, operands // 3))
