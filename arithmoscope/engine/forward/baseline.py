"""The unmodified model's answers, which decide the pairs that an experiment keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from arithmoscope.contracts.results import DroppedPair
from arithmoscope.engine.forward.activations import end_states
from arithmoscope.engine.forward.hooks import evaluating
from arithmoscope.engine.forward.logits import all_logits
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.prompts import EncodedPair

# Prompts per batch; their full logits take most of the memory.
_BATCH = 64


@torch.no_grad()
def top_tokens(
    model: LoadedModel, encoded: Sequence[EncodedPair], check_cancelled: Callable[[], None] = lambda: None
) -> list[int]:
    """The top token at END of every pair's reference prompt. ``check_cancelled`` is called before each batch and may
    raise.

    Cost: one forward pass over the prompts.
    """
    step = 1 if model.runs_alone else _BATCH
    tokens: list[int] = []
    with evaluating(model.hf):
        for start in range(0, len(encoded), step):
            check_cancelled()
            states = end_states(model, [pair.reference_ids for pair in encoded[start : start + step]])
            tokens += all_logits(model, states.final).argmax(-1).tolist()
    return tokens


def wrong_answer(model: LoadedModel, index: int, pair: EncodedPair, top: int) -> DroppedPair:
    """The record of a pair that is dropped because the model answers it with another token, ``top``."""
    return DroppedPair(
        index=index,
        reference=pair.pair.reference,
        answer=pair.pair.answer,
        reason=f"The model answers {model.token_text(top)[:40]!r}.",
    )
