"""Export of a tuned model: a folder that transformers loads, or an adapter for PEFT."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.models.folders import MANIFEST
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.tuning.atomic_write import new_folder
from arithmoscope.engine.tuning.weight_changes import Change, Product
from arithmoscope.engine.tuning.weight_slices import read_slice


def write_model(tuned: LoadedModel, lineage: Mapping[str, Any], folder: str | os.PathLike[str]) -> None:
    """Writes weights, configuration, tokenizer and lineage to a new folder."""
    hf: Any = tuned.hf
    if unexpected := _unexpected(hf):
        raise Refusal(
            "impossible_options",
            f"Offsets become biases of the output projections, and a {type(hf).__name__} of this configuration "
            f"has none, so transformers would not load them ({unexpected[0]}).",
            "Keep the deltas and apply them, or choose another tuner.",
        )
    with new_folder(Path(folder)) as inside:
        hf.save_pretrained(inside)
        tuned.tokenizer.save_pretrained(inside)
        # The engine reads the tokenizer from here; transformers may write one with its settings changed.
        (inside / "tokenizer.json").write_text(tuned.text.to_str(), encoding="utf-8")
        manifest = {"name": tuned.card.name, "tuned": lineage}
        (inside / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def write_adapter(base: LoadedModel, changes: Sequence[Change], folder: str | os.PathLike[str]) -> None:
    """Writes the files of `adapter_files` to a new folder."""
    files = adapter_files(base, changes)
    with new_folder(Path(folder)) as inside:
        for name, data in files.items():
            (inside / name).write_bytes(data)


def adapter_files(base: LoadedModel, changes: Sequence[Change]) -> dict[str, bytes]:
    """The changes as products of two matrices, in PEFT's LoRA format, by file name. A slice of n rows or columns has
    rank n: one of the two matrices holds the change, the other selects the rows or columns.

    Raises:
        Refusal: ``impossible_options`` for whole matrices, biases and embeddings, which have no low rank.
    """
    weights = dict(base.hf.named_parameters())
    products = {change.weight.removesuffix(".weight"): _factors(base, change, weights) for change in changes}
    ranks = {name: len(reads) for name, (reads, _) in products.items()}
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base.card.id,
        "revision": None,
        "r": max(ranks.values()),
        "lora_alpha": max(ranks.values()),
        "rank_pattern": ranks,
        "alpha_pattern": ranks,
        "target_modules": list(products),
        "fan_in_fan_out": any(isinstance(base.hf.get_submodule(name), Conv1D) for name in products),
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
    }
    tensors: dict[str, Tensor] = {}
    for name, (reads, writes) in products.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = reads.contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = writes.contiguous()
    return {
        "adapter_config.json": (json.dumps(config, indent=1) + "\n").encode(),
        "adapter_model.safetensors": save(tensors, {"format": "pt"}),
    }


@torch.no_grad()
def _factors(base: LoadedModel, change: Change, weights: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The two factors, [rank, read] and [written, rank], in float32 or wider."""
    if isinstance(change, Product):
        return change.reads, change.scale * change.writes
    weight = weights.get(change.weight)
    rank = sum(stop - start for start, stop in change.ranges)
    if weight is None or weight.dim() != 2 or rank * sum(weight.shape) > weight.numel():
        raise Refusal(
            "impossible_options",
            f"The change of {change.weight[:80]} has no low rank: its adapter would be larger than the weight.",
            "Export the whole model instead; only slices of heads can become an adapter.",
        )
    wide = torch.promote_types(weight.dtype, torch.float32)
    before = read_slice(weight.detach(), change.axis, change.ranges).cpu().to(wide)
    difference = change.values.to(wide) - before
    # A linear module stores [written, read], GPT-2's the other way round.
    written, read = weight.shape
    axis = change.axis
    if isinstance(base.hf.get_submodule(change.weight.removesuffix(".weight")), Conv1D):
        written, read, axis, difference = read, written, 1 - axis, difference.T
    places = torch.cat([torch.arange(start, stop) for start, stop in change.ranges])
    if axis == 0:
        return difference, torch.eye(written, dtype=wide)[:, places]
    return torch.eye(read, dtype=wide)[places], difference


def _unexpected(hf: Any) -> list[str]:
    """Parameters that a model of this configuration lacks unless they are added, now or in an earlier tuning:
    transformers would ignore them without an error.
    """
    with torch.device("meta"):
        fresh = type(hf)(hf.config)
    expected = dict(fresh.named_parameters(remove_duplicate=False))
    return [name for name, _ in hf.named_parameters() if name not in expected]
