"""Attention patterns: how much every token of a prompt looks at every earlier one, in every head.

Read off the model's own eager attention, softmax and masks included, in a plain forward pass of the prompt. A pattern
shows where a head looks, not what it does with what it sees; the first token gathers attention that goes nowhere.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import PromptPair
from arithmoscope.engine.forward.activations import TokenIds, encode_all
from arithmoscope.engine.forward.hooks import eager_attention, evaluating
from arithmoscope.engine.models.loaded import LoadedModel

# Patterns of the prompts that go through the model together.
_BATCH_BYTES = 64 * 2**20


@dataclass(frozen=True, eq=False)
class AttentionPatterns:
    """Patterns of some prompts' layers; ``weights[p]`` is [layer, head, query, key], its rows sum to 1."""

    layers: tuple[int, ...]
    weights: tuple[Float[Tensor, "layer head _ _"], ...]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a safetensors file."""
        tensors = {f"prompt.{i}": w.contiguous() for i, w in enumerate(self.weights)}
        save_file(tensors, Path(path), {"layers": json.dumps(self.layers)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> AttentionPatterns:
        """Read what `save` wrote."""
        try:
            with safe_open(Path(path), "pt") as file:
                layers = tuple(json.loads(file.metadata()["layers"]))
                return cls(layers, tuple(file.get_tensor(f"prompt.{i}") for i in range(len(file.keys()))))
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise Refusal("bad_request", f"{Path(path).name} holds no attention patterns.") from error


def attention(
    model: LoadedModel,
    pairs: Sequence[PromptPair],
    *,
    layers: Sequence[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> AttentionPatterns:
    """Patterns of the reference prompts, of all layers unless told; ``progress(done, total)`` counts prompts."""
    wanted = tuple(range(model.layout.layers)) if layers is None else tuple(layers)
    for layer in wanted:
        if not 0 <= layer < model.layout.layers:
            raise Refusal("out_of_range", f"There is no layer {layer}; the model has {model.layout.layers}.")
    if not wanted:
        raise Refusal("out_of_range", "No layer was asked for.")
    prompts = [pair.reference_ids for pair in encode_all(model, pairs)]
    return AttentionPatterns(wanted, tuple(attention_of(model, prompts, wanted, progress)))


def attention_of(
    model: LoadedModel,
    prompts: Sequence[TokenIds],
    layers: Sequence[int],
    progress: Callable[[int, int], None] | None = None,
) -> list[Float[Tensor, "layer head _ _"]]:
    """Patterns of some prompts, on the CPU, in float32 (float64 for a float64 model).

    Prompts of one length go through the model together, as many as keep the patterns in hand below a budget.
    """
    found: dict[int, Tensor] = {}
    by_length: dict[int, list[int]] = {}
    for number, ids in enumerate(prompts):
        by_length.setdefault(len(ids), []).append(number)
    for length, numbers in by_length.items():
        step = max(1, _BATCH_BYTES // (8 * len(layers) * model.layout.heads * length**2))
        if model.runs_alone:
            step = 1
        for start in range(0, len(numbers), step):
            part = numbers[start : start + step]
            found.update(zip(part, _run(model, [prompts[number] for number in part], layers), strict=True))
            if progress is not None:
                progress(len(found), len(prompts))
    return [found[number] for number in range(len(prompts))]


@torch.no_grad()
def _run(
    model: LoadedModel, prompts: Sequence[TokenIds], layers: Sequence[int]
) -> Float[Tensor, "prompt layer head query key"]:
    seen: dict[int, Tensor] = {}

    def keep(layer: int) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            seen[layer] = output[1].to(dtype=model.work_dtype, device="cpu")

        return hook

    with ExitStack() as stack:
        for layer in layers:
            hook = model.layout.blocks[layer].attention.register_forward_hook(keep(layer))
            stack.callback(hook.remove)
        stack.enter_context(evaluating(model.hf))
        stack.enter_context(eager_attention(model.hf))
        model.layout.decoder(input_ids=torch.tensor(prompts, device=model.device), use_cache=False)
    return torch.stack([seen[layer] for layer in layers], dim=1)
