"""Attention patterns: how much every token of a prompt looks at every earlier one, in every head.

Read off the model's own eager attention, softmax and masks included, in a plain forward pass of the prompt. A pattern
shows where a head looks, not what it does with what it sees; the first token gathers attention that goes nowhere.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from contracts.errors import Refusal
from contracts.prompts import PromptPair
from engine.model import LoadedModel
from prompts import encode_pair


@dataclass(frozen=True)
class AttentionPatterns:
    """Patterns of some prompts' layers; ``weights[p]`` is [layer, head, query, key], its rows sum to 1."""

    layers: tuple[int, ...]
    weights: tuple[Float[Tensor, "layer head query key"], ...]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a safetensors file."""
        tensors = {f"prompt.{i}": w.contiguous() for i, w in enumerate(self.weights)}
        save_file(tensors, Path(path), {"layers": json.dumps(self.layers)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> AttentionPatterns:
        """Read what `save` wrote."""
        with Path(path).open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        tensors = load_file(Path(path))
        weights = tuple(tensors[f"prompt.{i}"] for i in range(len(tensors)))
        return cls(tuple(json.loads(header["__metadata__"]["layers"])), weights)


def attention(
    model: LoadedModel,
    pairs: Sequence[PromptPair],
    *,
    layers: Sequence[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> AttentionPatterns:
    """Patterns of the reference prompts, of all layers unless told; ``progress(done, total)`` counts prompts."""
    wanted = tuple(range(model.anatomy.layers)) if layers is None else tuple(layers)
    for layer in wanted:
        if not 0 <= layer < model.anatomy.layers:
            raise Refusal("out_of_range", f"There is no layer {layer}; the model has {model.anatomy.layers}.")
    weights = []
    for done, pair in enumerate(pairs, start=1):
        weights.append(attention_of(model, encode_pair(pair, model.text).reference_ids, wanted))
        if progress is not None:
            progress(done, len(pairs))
    return AttentionPatterns(wanted, tuple(weights))


@torch.no_grad()
def attention_of(
    model: LoadedModel, ids: Sequence[int], layers: Sequence[int]
) -> Float[Tensor, "layer head query key"]:
    """Patterns of one prompt, on the CPU, in float32 (float64 for a float64 model)."""
    seen: dict[int, Tensor] = {}

    def keep(layer: int) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            seen[layer] = output[1][0].to(dtype=model.work_dtype, device="cpu")

        return hook

    handles = [model.anatomy.blocks[layer].attention.register_forward_hook(keep(layer)) for layer in layers]
    try:
        with _eager(model):
            model.anatomy.decoder(input_ids=torch.tensor([list(ids)], device=model.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack([seen[layer] for layer in layers])


@contextmanager
def _eager(model: LoadedModel) -> Iterator[None]:
    """Only the eager path forms attention weights; the sweep never pays for it."""
    before = model.hf.config._attn_implementation
    model.hf.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.hf.set_attn_implementation(before)
