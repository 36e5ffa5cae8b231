"""Questions with their answers as what a model is trained on: the loss is over the answers' tokens alone."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import PromptPair
from arithmoscope.engine.forward.activations import can_share_prefix, encode_all
from arithmoscope.engine.models.loaded import LoadedModel


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt with its answer as token ids; the last ``answers`` of them are the answer's."""

    ids: tuple[int, ...]
    answers: int


def examples_of(model: LoadedModel, pairs: Sequence[PromptPair]) -> tuple[Example, ...]:
    """The reference prompts with their whole answers, of however many tokens. The counterfactuals are not read.

    Refuses (``no_prompts``) an empty list, and as every method what cannot be read as tokens.
    """
    plain: Any = pairs
    if isinstance(pairs, Sequence) and not isinstance(pairs, str):
        plain = [replace(p, counterfactual=p.reference) if isinstance(p, PromptPair) else p for p in pairs]
    encoded = encode_all(model, plain, "each")
    if not encoded:
        raise Refusal("no_prompts", "There is no prompt to train on.")
    whole = [each for each in encoded if each.place == each.places - 1]
    return tuple(Example((*each.reference_ids, each.answer_id), each.places) for each in whole)


def digest_of(examples: Sequence[Example]) -> str:
    """SHA-256 of a set in its order: what a checkpoint is asked for when training goes on."""
    return hashlib.sha256(repr([(each.ids, each.answers) for each in examples]).encode()).hexdigest()


def batches(examples: Sequence[Example], size: int, seed: int, first: int) -> Iterator[list[Example]]:
    """The batches of every step from ``first`` on, without end: all examples once in an order drawn from the seed,
    then in another, and so on. Which ones a step takes depends on the seed and its number alone."""
    epoch, at = divmod(first * size, len(examples))
    order = _order(len(examples), seed, epoch)
    while True:
        batch = []
        while len(batch) < size:
            if at == len(order):
                epoch, at = epoch + 1, 0
                order = _order(len(examples), seed, epoch)
            more = order[at : at + size - len(batch)]
            batch += [examples[number] for number in more]
            at += len(more)
        yield batch


def _order(number: int, seed: int, epoch: int) -> list[int]:
    order = list(range(number))
    # Seeded by a text: the same on every machine and version.
    random.Random(f"fine-tuning {seed} {epoch}").shuffle(order)
    return order


def pieces(model: LoadedModel, batch: Sequence[Example], number: int) -> list[list[Example]]:
    """A batch in ``number`` parts that are run one after another, of like length to leave little to pad. Lengths are
    never mixed in a model whose numbers depend on how long the whole pass is (Phi-3's long versions)."""
    ordered = sorted(batch, key=lambda each: len(each.ids))
    size = -(-len(ordered) // number)
    parts = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    if can_share_prefix(model, len(ordered[-1].ids)):
        return parts
    by_length: list[list[Example]] = []
    for part in parts:
        same: dict[int, list[Example]] = defaultdict(list)
        for example in part:
            same[len(example.ids)].append(example)
        by_length += same.values()
    return by_length


def answers_loss(model: LoadedModel, examples: Sequence[Example]) -> Float[Tensor, ""]:
    """The sum over all answers' tokens of -log p(token | everything before it), in float32 or wider.

    Shorter examples are filled up behind their end. No mask is needed for it: a token sees none that come later, and
    what the filling says is not looked at. Only the positions that are looked at are unembedded.
    """
    layout = model.layout
    longest = max(len(each.ids) for each in examples) - 1  # what the last token says is not asked
    filled = [[*each.ids[:-1], *([each.ids[-1]] * (longest + 1 - len(each.ids)))] for each in examples]
    ids = torch.tensor(filled, device=layout.decoder.get_input_embeddings().weight.device)  # pyright: ignore
    stream = layout.decoder(input_ids=ids, use_cache=False)[0]
    asked = [
        (row, at, each.ids[at + 1])
        for row, each in enumerate(examples)
        for at in range(len(each.ids) - 1 - each.answers, len(each.ids) - 1)
    ]
    rows, places, targets = torch.tensor(asked, device=stream.device).unbind(1)
    logits = layout.capped(layout.unembed(stream[rows, places]))
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return cross_entropy(wide, targets.to(wide.device), reduction="sum")
