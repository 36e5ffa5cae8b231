"""Training examples: prompts with answers, their batches, and the loss over the answer tokens alone."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

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
    """A prompt with its answer as token ids; the last ``answer_length`` of them are the answer."""

    ids: tuple[int, ...]
    answer_length: int


def examples_of(model: LoadedModel, pairs: Sequence[PromptPair]) -> tuple[Example, ...]:
    """The reference prompts with their whole answers, one or more tokens each. Counterfactuals are not read.

    Raises:
        Refusal: ``no_prompts`` for an empty list; otherwise as for every method, if a pair cannot be tokenised.
    """
    encoded = encode_all(model, [replace(pair, counterfactual=pair.reference) for pair in pairs], "each")
    if not encoded:
        raise Refusal("no_prompts", "There is no prompt to train on.")
    whole = [each for each in encoded if each.place == each.places - 1]
    return tuple(Example((*each.reference_ids, each.answer_id), each.places) for each in whole)


def digest_of(examples: Sequence[Example]) -> str:
    """SHA-256 of the examples in their order; a checkpoint must match it to be resumed."""
    return hashlib.sha256(repr([(each.ids, each.answer_length) for each in examples]).encode()).hexdigest()


def batches(examples: Sequence[Example], size: int, seed: int, first: int) -> Iterator[list[Example]]:
    """An endless stream of batches from step ``first`` on: all examples once in an order drawn from the seed, then in
    another order, and so on. The examples of a step depend on the seed and the step number alone.
    """
    epoch, position = divmod(first * size, len(examples))
    order = _order(len(examples), seed, epoch)
    while True:
        batch = []
        while len(batch) < size:
            if position == len(order):
                epoch, position = epoch + 1, 0
                order = _order(len(examples), seed, epoch)
            chunk = order[position : position + size - len(batch)]
            batch += [examples[number] for number in chunk]
            position += len(chunk)
        yield batch


def _order(number: int, seed: int, epoch: int) -> list[int]:
    order = list(range(number))
    # A string seed gives the same order on every machine and Python version.
    random.Random(f"fine-tuning {seed} {epoch}").shuffle(order)
    return order


def micro_batches(model: LoadedModel, batch: Sequence[Example], number: int) -> list[list[Example]]:
    """A batch split into ``number`` micro-batches of similar lengths, to keep padding low. Lengths are never mixed in a
    model whose numbers depend on the length of the whole pass (Phi-3's long versions).
    """
    ordered = sorted(batch, key=lambda each: len(each.ids))
    size = -(-len(ordered) // number)
    chunks = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    if can_share_prefix(model, len(ordered[-1].ids)):
        return chunks
    by_length: list[list[Example]] = []
    for chunk in chunks:
        same: dict[int, list[Example]] = defaultdict(list)
        for example in chunk:
            same[len(example.ids)].append(example)
        by_length += same.values()
    return by_length


def answer_loss(model: LoadedModel, examples: Sequence[Example]) -> Float[Tensor, ""]:
    """The sum over all answer tokens of -log p(token | all tokens before it), in float32 or wider.

    Shorter examples are padded at the end. They need no mask: a token attends to none after it, and outputs at the
    padding are ignored. Only the positions that predict answer tokens are unembedded.
    """
    layout = model.layout
    longest = max(len(each.ids) for each in examples) - 1  # the prediction after the last token is not needed
    padded = [[*each.ids[:-1], *([each.ids[-1]] * (longest + 1 - len(each.ids)))] for each in examples]
    ids = torch.tensor(padded, device=layout.decoder.get_input_embeddings().weight.device)  # pyright: ignore
    stream = layout.decoder(input_ids=ids, use_cache=False)[0]
    predicted = [
        (row, position, each.ids[position + 1])
        for row, each in enumerate(examples)
        for position in range(len(each.ids) - 1 - each.answer_length, len(each.ids) - 1)
    ]
    rows, positions, targets = torch.tensor(predicted, device=stream.device).unbind(1)
    logits = layout.capped(layout.unembed(stream[rows, positions]))
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return cross_entropy(wide, targets.to(wide.device), reduction="sum")
