"""What a model answers when nothing is changed: which pairs of a set are worth knocking anything out of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from arithmoscope.contracts.results import DroppedPair
from arithmoscope.engine.forward.activations import end_states
from arithmoscope.engine.forward.hooks import evaluating
from arithmoscope.engine.forward.logits import all_logits
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.prompts import EncodedPair

# Prompts at once: their full logits are the largest part.
_TOGETHER = 64


@torch.no_grad()
def top_tokens(
    model: LoadedModel, encoded: Sequence[EncodedPair], go_on: Callable[[], None] = lambda: None
) -> list[int]:
    """The token on top at END of every pair's reference prompt. ``go_on`` is called now and then, and may raise.

    Cost: one forward pass over the prompts.
    """
    step = 1 if model.runs_alone else _TOGETHER
    found: list[int] = []
    with evaluating(model.hf):
        for start in range(0, len(encoded), step):
            go_on()
            states = end_states(model, [pair.reference_ids for pair in encoded[start : start + step]])
            found += all_logits(model, states.final).argmax(-1).tolist()
    return found


def wrong_answer(model: LoadedModel, index: int, pair: EncodedPair, top: int) -> DroppedPair:
    """The pair as one that is left out for what the model says."""
    return DroppedPair(
        index=index,
        reference=pair.pair.reference,
        answer=pair.pair.answer,
        reason=f"The model answers {model.token_text(top)[:40]!r}.",
    )
