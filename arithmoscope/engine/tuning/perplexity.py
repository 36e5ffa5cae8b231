"""Perplexity of plain text without arithmetic, before and after tuning, and the divergence between the two models.

Loss and divergence are means over tokens; intervals are over passages, since the tokens of one passage are not
independent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.tuning_results import Interval, Neutral
from arithmoscope.engine.forward.hooks import evaluating
from arithmoscope.engine.measures.knockout_curves import interval_of
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.tuning.comparison import Report, divergence_of, log_probabilities, logit_rows
from arithmoscope.prompts.sets.neutral_text import PASSAGES

# The exponential of more nats is not finite.
_LARGEST = 709.0


@torch.no_grad()
def compare_on_text(
    before: LoadedModel,
    after: LoadedModel,
    passages: Sequence[str] = PASSAGES,
    *,
    check_stop: Callable[[], None] = lambda: None,
    report: Report = lambda _done: None,
) -> Neutral:
    """Runs both models on the passages, one at a time. ``check_stop`` is called before each and may raise;
    ``report(done)`` counts passages.

    Raises:
        Refusal: ``bad_tokenizer`` if no passage has two tokens or more, all of them in the model's vocabulary.
    """
    losses: list[Tensor] = []
    units: list[str] = []
    read = 0
    with evaluating(before.hf), evaluating(after.hf):
        for number, passage in enumerate(passages):
            check_stop()
            ids = before.text.encode(passage).ids[: before.context]
            if len(ids) > 1 and max(ids) < before.embeddings:
                token_losses = _token_losses(before, after, ids)
                losses.append(token_losses)
                units += [str(number)] * len(token_losses)
                read += 1
            report(number + 1)
    if not losses:
        raise Refusal("bad_tokenizer", "This tokenizer cannot encode plain English text.")
    numbers = torch.cat(losses)
    values = torch.cat([numbers, numbers[:, 1:2] - numbers[:, :1]], dim=1)
    low, high = (bound.tolist() for bound in interval_of(values, units))
    loss_before, loss_after, divergence, change = (
        Interval(mean=mean, low=_finite_or_none(lower), high=_finite_or_none(upper))
        for mean, lower, upper in zip(values.mean(0).tolist(), low, high, strict=True)
    )
    return Neutral(
        passages=read,
        tokens=len(values),
        before=_perplexity(loss_before),
        after=_perplexity(loss_after),
        ratio=_perplexity(change),
        divergence=divergence,
    )


def _token_losses(before: LoadedModel, after: LoadedModel, ids: Sequence[int]) -> Float[Tensor, "token 3"]:
    """For every token but the first: -log p before and after, and KL(before || after), in nats, on the CPU."""
    streams = []
    for model in (before, after):
        device = model.layout.decoder.get_input_embeddings().weight.device  # pyright: ignore[reportCallIssue]
        inputs = torch.tensor([ids[:-1]], device=device)
        streams.append(model.layout.decoder(input_ids=inputs, use_cache=False)[0][0])
    chunks = []
    step = logit_rows(before)
    for start in range(0, len(ids) - 1, step):
        first, second = (
            log_probabilities(model, stream[start : start + step])
            for model, stream in zip((before, after), streams, strict=True)
        )
        targets = torch.tensor(ids[1 + start : 1 + start + step], device=first.device)[:, None]
        losses = [-log.gather(1, targets)[:, 0].double().cpu() for log in (first, second)]
        chunks.append(torch.stack([*losses, divergence_of(first, second)], dim=1))
    return torch.cat(chunks)


def _perplexity(loss: Interval) -> Interval:
    """A mean loss as a perplexity. It grows with the loss, so the ends of an interval map to each other. Capped at the
    largest finite value, exp(709) or about 8e307.
    """
    bounds = (None if each is None else _exp(each) for each in (loss.low, loss.high))
    return Interval(**dict(zip(("mean", "low", "high"), (_exp(loss.mean), *bounds), strict=True)))  # pyright: ignore


def _exp(nats: float) -> float:
    return math.exp(min(nats, _LARGEST))


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
