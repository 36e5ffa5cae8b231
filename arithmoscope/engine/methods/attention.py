"""Attention patterns: how much every token of a prompt attends to every earlier one, in every head.

Read from the model's own eager attention, softmax and masks included, in a plain forward pass of the prompt. A pattern
shows where a head attends, not what it does with what it reads; the first token is an attention sink.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import save
from torch import Tensor, nn

from arithmoscope.contracts.arguments import check_arguments
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import PromptPair
from arithmoscope.engine.forward.activations import TokenIds, encode_all
from arithmoscope.engine.forward.hooks import eager_attention, evaluating
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.serialization import TensorResult, metadata_of, tensors_in

# Memory for the patterns of one batch.
_BATCH_BYTES = 64 * 2**20


@dataclass(frozen=True, eq=False)
class AttentionPatterns(TensorResult):
    """Attention patterns of a list of prompts.

    Attributes:
        layers: The layers, in the order of the first axis of each element of ``weights``.
        weights: One tensor [layer, head, query, key] per prompt, on the CPU; each query's row sums to 1.

    Example:
        >>> patterns = am.attention(model, pairs[:1], layers=[0])
        >>> patterns.save("patterns.safetensors")
        >>> am.AttentionPatterns.load("patterns.safetensors").layers
        (0,)
    """

    noun = "attention patterns"

    layers: tuple[int, ...]
    weights: tuple[Float[Tensor, "layer head _ _"], ...]

    def _packed(self) -> bytes:
        tensors = {f"prompt.{index}": weights.contiguous() for index, weights in enumerate(self.weights)}
        return save(tensors, {"layers": json.dumps(self.layers)})

    @classmethod
    def _parsed(cls, data: bytes) -> AttentionPatterns:
        layers, tensors = tuple(json.loads(metadata_of(data)["layers"])), tensors_in(data)
        return cls(layers, tuple(tensors[f"prompt.{index}"] for index in range(len(tensors))))


@check_arguments()
def attention(
    model: LoadedModel,
    pairs: Sequence[PromptPair],
    *,
    layers: Sequence[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> AttentionPatterns:
    """Attention patterns of the reference prompts.

    Args:
        model: The model to analyse.
        pairs: Prompt pairs; only their reference prompts are run.
        layers: The layers to return, from 0; None for all.
        progress: Called with (prompts done, prompts in total).

    Returns:
        One tensor [layer, head, query, key] per prompt, float32 (float64 for a float64 model), on the CPU.

    Raises:
        Refusal: ``out_of_range`` for a layer that the model does not have, or none; `BadPrompt` for an empty
            list or a prompt that cannot be tokenised.

    Example:
        >>> patterns = am.attention(model, pairs[:2], layers=[0, 1])
        >>> patterns.weights[0].shape  # [layer, head, query, key]
        torch.Size([2, ...])
        >>> round(patterns.weights[0][0, 0, -1].sum().item(), 3)
        1.0
    """
    selected = tuple(range(model.layout.layers)) if layers is None else tuple(layers)
    if not pairs:
        raise Refusal("no_prompts", "The list of prompt pairs is empty.")
    for layer in selected:
        if not 0 <= layer < model.layout.layers:
            raise Refusal("out_of_range", f"There is no layer {layer}; the model has {model.layout.layers}.")
    if not selected:
        raise Refusal("out_of_range", "The list of layers is empty.")
    prompts = [pair.reference_ids for pair in encode_all(model, pairs)]
    return AttentionPatterns(selected, tuple(attention_of(model, prompts, selected, progress)))


def attention_of(
    model: LoadedModel,
    prompts: Sequence[TokenIds],
    layers: Sequence[int],
    progress: Callable[[int, int], None] | None = None,
) -> list[Float[Tensor, "layer head _ _"]]:
    """Patterns of token sequences, on the CPU, in float32 (float64 for a float64 model).

    Prompts of the same length form a batch, as large as the memory for its patterns allows.
    """
    patterns: dict[int, Tensor] = {}
    by_length: dict[int, list[int]] = {}
    for number, ids in enumerate(prompts):
        by_length.setdefault(len(ids), []).append(number)
    for length, numbers in by_length.items():
        step = max(1, _BATCH_BYTES // (8 * len(layers) * model.layout.heads * length**2))
        if model.runs_alone:
            step = 1
        for start in range(0, len(numbers), step):
            batch = numbers[start : start + step]
            patterns.update(zip(batch, _run(model, [prompts[number] for number in batch], layers), strict=True))
            if progress is not None:
                progress(len(patterns), len(prompts))
    return [patterns[number] for number in range(len(prompts))]


@torch.no_grad()
def _run(
    model: LoadedModel, prompts: Sequence[TokenIds], layers: Sequence[int]
) -> Float[Tensor, "prompt layer head query key"]:
    weights: dict[int, Tensor] = {}

    def keep(layer: int) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            weights[layer] = output[1].to(dtype=model.work_dtype, device="cpu")

        return hook

    with ExitStack() as stack:
        for layer in layers:
            hook = model.layout.blocks[layer].attention.register_forward_hook(keep(layer))
            stack.callback(hook.remove)
        stack.enter_context(evaluating(model.hf))
        stack.enter_context(eager_attention(model.hf))
        model.layout.decoder(input_ids=torch.tensor(prompts, device=model.device), use_cache=False)
    return torch.stack([weights[layer] for layer in layers], dim=1)
