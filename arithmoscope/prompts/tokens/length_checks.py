"""What the number of tokens forbids: runs of unequal length patched position by position, answers cut short."""

from __future__ import annotations

from collections.abc import Sequence

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.specs import Positions, Source
from arithmoscope.prompts.tokens.encoded import EncodedPair


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


def refuse_cut_answers(pairs: Sequence[EncodedPair], tokens: int) -> None:
    """Refuses (``bad_request``) the first pair whose answer has more tokens than are to be written."""
    for number, pair in enumerate(pairs, start=1):
        if pair.places > tokens:
            raise Refusal(
                "bad_request",
                f"Pair {number}: the answer {pair.pair.answer!r} is {pair.places} tokens; answer_tokens is {tokens}.",
                "Let more tokens be written: one more than the answer has shows whether it ends there.",
            )
