"""Checks of token counts: equal lengths for patching at all positions, and answers that fit the generated tokens."""

from __future__ import annotations

from collections.abc import Sequence

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.terms import Positions, Source
from arithmoscope.prompts.tokens.encoded import EncodedPair


def refuse_unequal_lengths(pairs: Sequence[EncodedPair], positions: Positions, source: Source) -> None:
    """Raises Refusal (``lengths_differ``) on the first pair that cannot be patched at all positions from its
    counterfactual."""
    if positions != "all" or source != "counterfactual":
        return
    for number, pair in enumerate(pairs, start=1):
        reference, counterfactual = len(pair.reference_ids), len(pair.counterfactual_ids)
        if reference != counterfactual:
            raise Refusal(
                "lengths_differ",
                f"Pair {number}: the reference has {reference} tokens, its counterfactual {counterfactual}; "
                "to be patched at all positions they must be of equal length.",
            )


def refuse_cut_answers(pairs: Sequence[EncodedPair], tokens: int) -> None:
    """Raises Refusal (``bad_request``) on the first pair whose answer has more tokens than are generated."""
    for number, pair in enumerate(pairs, start=1):
        if pair.places > tokens:
            raise Refusal(
                "bad_request",
                f"Pair {number}: the answer {pair.pair.answer!r} is {pair.places} tokens; answer_tokens is {tokens}.",
                "Raise answer_tokens: one more than the answer has shows whether the model ends there.",
            )
