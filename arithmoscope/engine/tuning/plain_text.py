"""Plain text without arithmetic: how surprised a model is by it, before and after, and how far apart the two are.

The loss and the divergence are means over tokens, intervals are over passages: the tokens of a passage are not
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
from arithmoscope.engine.tuning.side_by_side import Report, divergence_of, log_probabilities, logit_rows
from arithmoscope.prompts.sets.neutral_text import PASSAGES

# Of more nats the exponential is no finite number.
_LARGEST = 709.0


@torch.no_grad()
def neutral(
    before: LoadedModel,
    after: LoadedModel,
    passages: Sequence[str] = PASSAGES,
    *,
    go_on: Callable[[], None] = lambda: None,
    report: Report = lambda _done: None,
) -> Neutral:
    """Both models on the passages, each by itself. ``report(done)`` counts passages.

    Refuses (``bad_tokenizer``) text that is less than two tokens, or none that the model knows.
    """
    found: list[Tensor] = []
    units: list[str] = []
    read = 0
    with evaluating(before.hf), evaluating(after.hf):
        for number, passage in enumerate(passages):
            go_on()
            ids = before.text.encode(passage).ids[: before.context]
            if len(ids) > 1 and max(ids) < before.embeddings:
                numbers = _surprise(before, after, ids)
                found.append(numbers)
                units += [str(number)] * len(numbers)
                read += 1
            report(number + 1)
    if not found:
        raise Refusal("bad_tokenizer", "This tokenizer makes nothing of plain English text.")
    numbers = torch.cat(found)
    values = torch.cat([numbers, numbers[:, 1:2] - numbers[:, :1]], dim=1)
    low, high = (bound.tolist() for bound in interval_of(values, units))
    loss_before, loss_after, divergence, change = (
        Interval(mean=mean, low=_or_none(at_least), high=_or_none(at_most))
        for mean, at_least, at_most in zip(values.mean(0).tolist(), low, high, strict=True)
    )
    return Neutral(
        passages=read,
        tokens=len(values),
        before=_exponential(loss_before),
        after=_exponential(loss_after),
        ratio=_exponential(change),
        divergence=divergence,
    )


def _surprise(before: LoadedModel, after: LoadedModel, ids: Sequence[int]) -> Float[Tensor, "token 3"]:
    """Of every token but the first: -log p before and after, and KL(before || after), in nats, on the CPU."""
    streams = []
    for model in (before, after):
        device = model.layout.decoder.get_input_embeddings().weight.device  # pyright: ignore[reportCallIssue]
        asked = torch.tensor([ids[:-1]], device=device)
        streams.append(model.layout.decoder(input_ids=asked, use_cache=False)[0][0])
    found = []
    step = logit_rows(before)
    for start in range(0, len(ids) - 1, step):
        one, other = (
            log_probabilities(model, stream[start : start + step])
            for model, stream in zip((before, after), streams, strict=True)
        )
        targets = torch.tensor(ids[1 + start : 1 + start + step], device=one.device)[:, None]
        losses = [-log.gather(1, targets)[:, 0].double().cpu() for log in (one, other)]
        found.append(torch.stack([*losses, divergence_of(one, other)], dim=1))
    return torch.cat(found)


def _exponential(loss: Interval) -> Interval:
    """A mean loss as a perplexity: it rises with it, so the ends of an interval do, too. Where it is beyond any number
    it is the largest one, exp(709) or about 8e307."""
    bounds = (None if each is None else _exp(each) for each in (loss.low, loss.high))
    return Interval(**dict(zip(("mean", "low", "high"), (_exp(loss.mean), *bounds), strict=True)))  # pyright: ignore


def _exp(nats: float) -> float:
    return math.exp(min(nats, _LARGEST))


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
