"""Which numbers of which weight belong to a head or an MLP.

A head writes queries, keys and values (rows of a projection, wherever a family keeps them) and its output is read by
some columns of the output projection. Under grouped-query attention a group of heads shares one key and one value
slice. The output projection's bias belongs to all heads of a layer, norms to all components: neither is any part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.families.layout import Block, Layout, is_packed
from arithmoscope.engine.models.loaded import LoadedModel

What = Literal["q", "k", "v", "o"]
Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Part:
    """Some numbers of one weight or bias of the model.

    module  the projection's name in the transformers model; ``leaf`` is its ``weight`` or its ``bias``
    side    ``writes``: what computes some of its outputs; ``reads``: what it does with some of its inputs
    ranges  places of these outputs or inputs, first and one after the last, ascending
    axis    of the parameter as it is stored
    size    how many numbers
    kind    of the components that it belongs to
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
        """The parameter's name."""
        return f"{self.module}.{self.leaf}"


def taken(tensor: Tensor, axis: int, ranges: Ranges) -> Tensor:
    """A copy of these places along an axis, side by side."""
    return torch.cat([tensor.narrow(axis, start, stop - start) for start, stop in ranges], dim=axis)


@torch.no_grad()
def put(tensor: Tensor, axis: int, ranges: Ranges, values: Tensor) -> None:
    """Write what `taken` takes, in place."""
    at = 0
    for start, stop in ranges:
        tensor.narrow(axis, start, stop - start).copy_(values.narrow(axis, at, stop - start))
        at += stop - start


def head_part(model: LoadedModel, layer: int, what: What, number: int, leaf: Literal["weight", "bias"]) -> Part | None:
    """What head ``number`` of a layer has of ``what`` (of ``k`` and ``v``: the group of that number). None where there
    is no such bias, and for the output projection's, which is all heads'."""
    layout = model.layout
    width = layout.head_dim
    if what == "o":
        out = layout.blocks[layer].heads_out
        return None if leaf == "bias" else _part(model, out, leaf, "reads", number * width, width, "head")
    module, start = _written_by(model, layout.blocks[layer], what, number)
    return _part(model, module, leaf, "writes", start * width, width, "head")


def mlp_parts(model: LoadedModel, layer: int, leaf: Literal["weight", "bias"]) -> list[Part]:
    """Every projection of an MLP, whole."""
    found = []
    for module in model.layout.blocks[layer].mlp.modules():
        if isinstance(module, nn.Linear | Conv1D):
            outputs = module.weight.shape[1 if isinstance(module, Conv1D) else 0]
            found.append(_part(model, module, leaf, "writes", 0, outputs, "mlp"))
    return [part for part in found if part is not None]


def matrices_of(model: LoadedModel) -> list[str]:
    """The names of all projections of all layers: of attention and of the MLPs."""
    inside = {
        id(module)
        for block in model.layout.blocks
        for half in (block.attention, block.mlp)
        for module in half.modules()
        if isinstance(module, nn.Linear | Conv1D)
    }
    return [name for name, module in model.hf.named_modules() if id(module) in inside]


def joined(parts: Iterable[Part]) -> tuple[Part, ...]:
    """The same numbers as one part a parameter, in the order in which parameters come first."""
    by_name: dict[str, list[Part]] = {}
    for part in parts:
        by_name.setdefault(part.name, []).append(part)
    return tuple(_merged(same) for same in by_name.values())


def check_tunable(model: LoadedModel) -> None:
    """Refuses (``bad_setting``) weights that gradients cannot move."""
    if model.precision == "int8":
        raise Refusal("bad_setting", "Weights in 8 bits cannot be tuned.", "Load the model in bfloat16 or float32.")
    if model.dtype == torch.float16:
        raise Refusal(
            "bad_setting",
            "Gradients in float16 vanish or overflow.",
            "Load the model in bfloat16, which has float32's range, or in float32.",
        )


def _merged(parts: Sequence[Part]) -> Part:
    ranges: list[tuple[int, int]] = []
    for start, stop in sorted({place for part in parts for place in part.ranges}):
        if ranges and ranges[-1][1] == start:
            ranges[-1] = (ranges[-1][0], stop)
        else:
            ranges.append((start, stop))
    first = parts[0]
    across = first.size // sum(stop - start for start, stop in first.ranges)
    size = across * sum(stop - start for start, stop in ranges)
    return Part(first.module, first.leaf, first.side, tuple(ranges), first.axis, size, first.kind)


def _part(
    model: LoadedModel,
    module: nn.Module,
    leaf: Literal["weight", "bias"],
    side: Literal["writes", "reads"],
    start: int,
    length: int,
    kind: Literal["head", "mlp"],
) -> Part | None:
    parameter: Any = getattr(module, leaf)
    if parameter is None:
        return None
    if is_packed(module):
        raise Refusal("bad_setting", "Packed weights cannot be tuned.", "Load the model in bfloat16 or float32.")
    # A linear module stores [written, read], GPT-2's the other way round.
    axis = 0 if leaf == "bias" or (side == "writes") != isinstance(module, Conv1D) else 1
    size = parameter.numel() // parameter.shape[axis] * length
    name = next(name for name, each in model.hf.named_modules() if each is module)
    return Part(name, leaf, side, ((start, start + length),), axis, size, kind)


def _written_by(model: LoadedModel, block: Block, what: What, number: int) -> tuple[nn.Module, int]:
    """The projection that writes a head's (a group's) queries, keys or values, and at which place, in heads' widths."""
    attention: Any = block.attention
    own = getattr(attention, f"{what}_proj", None)
    if own is not None:
        return own, number
    for name, layout in _FUSED.items():
        if hasattr(attention, name):
            return getattr(attention, name), layout(model.layout, model.hf.config, what, number)
    raise Refusal("unsupported_architecture", f"Where a {type(model.hf).__name__} keeps its queries is not known.")


def _one_after_another(layout: Layout, _config: Any, what: What, number: int) -> int:
    """All queries, then all keys, then all values."""
    return {"q": 0, "k": layout.heads, "v": layout.heads + layout.kv_heads}[what] + number


def _group_by_group(layout: Layout, config: Any, what: What, number: int) -> int:
    """A group's queries, then its key and its value, then the next group's; where all heads share one key and value
    (Falcon's multi-query layout), that is one group. Without groups every head is one."""
    grouped = getattr(config, "new_decoder_architecture", False) or getattr(config, "multi_query", False)
    heads = layout.heads // layout.kv_heads if grouped else 1
    if what == "q":
        group, within = divmod(number, heads)
        return group * (heads + 2) + within
    return number * (heads + 2) + heads + (what == "v")


# Fused projections by the names that families give them: Phi-3; GPT-2; GPT-NeoX and Falcon.
_FUSED: dict[str, Callable[[Layout, Any, What, int], int]] = {
    "qkv_proj": _one_after_another,
    "c_attn": _one_after_another,
    "query_key_value": _group_by_group,
}
