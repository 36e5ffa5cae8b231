"""Slices of weights and biases that belong to a head or an MLP.

A head writes queries, keys and values (rows of a projection, wherever a family keeps them), and some columns of the
output projection read its output. Under grouped-query attention a group of heads shares one key slice and one value
slice. The output projection's bias belongs to all heads of a layer, norms belong to all components: neither is part of
any slice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.trainable import Part
from arithmoscope.contracts.tuning_terms import HeadPart
from arithmoscope.engine.families.layout import Block, Layout, is_packed
from arithmoscope.engine.models.loaded import LoadedModel

Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class WeightSlice:
    """A slice of one weight or bias of the model, belonging to a head or an MLP.

    module  name of the projection in the transformers model; ``leaf`` is its ``weight`` or its ``bias``
    side    ``writes``: the slice computes some of the projection's outputs; ``reads``: it reads some of its inputs
    ranges  half-open index ranges of these outputs or inputs, ascending
    axis    axis of the parameter as it is stored
    size    number of parameters
    kind    kind of the components that it belongs to
    """

    module: str
    leaf: Literal["weight", "bias"]
    side: Literal["writes", "reads"]
    ranges: Ranges
    axis: int
    size: int
    kind: Literal["head", "mlp"]

    @property
    def name(self) -> str:
        """Name of the parameter."""
        return f"{self.module}.{self.leaf}"


def read_slice(tensor: Tensor, axis: int, ranges: Ranges) -> Tensor:
    """A copy of these ranges along an axis, concatenated."""
    return torch.cat([tensor.narrow(axis, start, stop - start) for start, stop in ranges], dim=axis)


@torch.no_grad()
def write_slice(tensor: Tensor, axis: int, ranges: Ranges, values: Tensor) -> None:
    """Writes in place the values that `read_slice` reads."""
    offset = 0
    for start, stop in ranges:
        tensor.narrow(axis, start, stop - start).copy_(values.narrow(axis, offset, stop - start))
        offset += stop - start


def head_slice(
    model: LoadedModel, layer: int, projection: HeadPart, number: int, leaf: Literal["weight", "bias"]
) -> WeightSlice | None:
    """The slice of head ``number`` in one projection (``k`` and ``v``: of the key-value group with that number). None
    if the projection has no bias, and for the output projection's bias, which all heads share.
    """
    layout = model.layout
    width = layout.head_dim
    if projection == "o":
        out = layout.blocks[layer].heads_out
        return None if leaf == "bias" else _slice(model, out, leaf, "reads", number * width, width, "head")
    module, start = _written_by(model, layout.blocks[layer], projection, number)
    return _slice(model, module, leaf, "writes", start * width, width, "head")


def mlp_slices(model: LoadedModel, layer: int, leaf: Literal["weight", "bias"]) -> list[WeightSlice]:
    """Every projection of an MLP, whole."""
    slices = []
    for module in model.layout.blocks[layer].mlp.modules():
        if isinstance(module, nn.Linear | Conv1D):
            outputs = module.weight.shape[1 if isinstance(module, Conv1D) else 0]
            slices.append(_slice(model, module, leaf, "writes", 0, outputs, "mlp"))
    return [each for each in slices if each is not None]


def part_slices(model: LoadedModel, part: Part, *, biases: bool) -> list[WeightSlice]:
    """The slices of a trained part, with its biases if requested."""
    leaves: tuple[Literal["weight", "bias"], ...] = ("weight", "bias") if biases else ("weight",)
    if part.name == "mlp":
        return [each for leaf in leaves for each in mlp_slices(model, part.layer, leaf)]
    slices = [head_slice(model, part.layer, part.name, part.number, leaf) for leaf in leaves]
    return [each for each in slices if each is not None]


def projection_names(model: LoadedModel) -> list[str]:
    """Names of all projections of all layers, attention and MLPs."""
    inside = {
        id(module)
        for block in model.layout.blocks
        for half in (block.attention, block.mlp)
        for module in half.modules()
        if isinstance(module, nn.Linear | Conv1D)
    }
    return [name for name, module in model.hf.named_modules() if id(module) in inside]


def merge_slices(slices: Iterable[WeightSlice]) -> tuple[WeightSlice, ...]:
    """The same parameters with one slice per weight or bias, in order of first appearance."""
    by_name: dict[str, list[WeightSlice]] = {}
    for each in slices:
        by_name.setdefault(each.name, []).append(each)
    return tuple(_merged(same) for same in by_name.values())


def _merged(slices: Sequence[WeightSlice]) -> WeightSlice:
    ranges: list[tuple[int, int]] = []
    for start, stop in sorted({span for each in slices for span in each.ranges}):
        if ranges and ranges[-1][1] == start:
            ranges[-1] = (ranges[-1][0], stop)
        else:
            ranges.append((start, stop))
    first = slices[0]
    across = first.size // sum(stop - start for start, stop in first.ranges)
    size = across * sum(stop - start for start, stop in ranges)
    return WeightSlice(first.module, first.leaf, first.side, tuple(ranges), first.axis, size, first.kind)


def _slice(
    model: LoadedModel,
    module: nn.Module,
    leaf: Literal["weight", "bias"],
    side: Literal["writes", "reads"],
    start: int,
    length: int,
    kind: Literal["head", "mlp"],
) -> WeightSlice | None:
    parameter: Any = getattr(module, leaf)
    if parameter is None:
        return None
    if is_packed(module):
        raise Refusal("bad_setting", "Packed weights cannot be tuned.", "Load the model in bfloat16 or float32.")
    # A linear module stores [written, read], GPT-2's the other way round.
    axis = 0 if leaf == "bias" or (side == "writes") != isinstance(module, Conv1D) else 1
    size = parameter.numel() // parameter.shape[axis] * length
    name = next(name for name, each in model.hf.named_modules() if each is module)
    return WeightSlice(name, leaf, side, ((start, start + length),), axis, size, kind)


def _written_by(model: LoadedModel, block: Block, projection: HeadPart, number: int) -> tuple[nn.Module, int]:
    """The projection that writes a head's (or group's) queries, keys or values, and its offset in head widths."""
    attention: Any = block.attention
    own = getattr(attention, f"{projection}_proj", None)
    if own is not None:
        return own, number
    for name, layout in _FUSED.items():
        if hasattr(attention, name):
            return getattr(attention, name), layout(model.layout, model.hf.config, projection, number)
    raise Refusal(
        "unsupported_architecture", f"The location of the query weights in a {type(model.hf).__name__} is not known."
    )


def _one_after_another(layout: Layout, _config: Any, projection: HeadPart, number: int) -> int:
    """All queries, then all keys, then all values."""
    return {"q": 0, "k": layout.heads, "v": layout.heads + layout.kv_heads}[projection] + number


def _group_by_group(layout: Layout, config: Any, projection: HeadPart, number: int) -> int:
    """A group's queries, its key and its value, then the next group. Where all heads share one key and value (Falcon's
    multi-query layout) there is one group; without groups each head is its own.
    """
    grouped = getattr(config, "new_decoder_architecture", False) or getattr(config, "multi_query", False)
    heads = layout.heads // layout.kv_heads if grouped else 1
    if projection == "q":
        group, within = divmod(number, heads)
        return group * (heads + 2) + within
    return number * (heads + 2) + heads + (projection == "v")


# Fused projections by their attribute name: Phi-3; GPT-2; GPT-NeoX and Falcon.
_FUSED: dict[str, Callable[[Layout, Any, HeadPart, int], int]] = {
    "qkv_proj": _one_after_another,
    "c_attn": _one_after_another,
    "query_key_value": _group_by_group,
}
