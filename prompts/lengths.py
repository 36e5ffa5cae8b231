"""Position by position, a run can be patched from another one only where both have as many tokens."""

from __future__ import annotations

from collections.abc import Sequence

from contracts.errors import Refusal
from contracts.specs import Positions, Source
from prompts.tokens import EncodedPair


def refuse_unequal_lengths(pairs: Sequence[EncodedPair], positions: Positions, source: Source) -> None:
    """Refuses (``lengths_differ``) the first pair that cannot be patched at all positions from its counterfactual."""
    if positions != "all" or source != "counterfactual":
        return
    for number, pair in enumerate(pairs, start=1):
        reference, counterfactual = len(pair.reference_ids), len(pair.counterfactual_ids)
        if reference != counterfactual:
            raise Refusal(
                "lengths_differ",
                f"Pair {number}: the reference has {reference} tokens, its counterfactual {counterfactual}; "
                "patched at all positions they must have as many.",
            )
