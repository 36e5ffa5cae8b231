"""How many numbers each part of a model has that can be tuned, out of its weights' names and shapes. Without torch.

Families fuse and name their projections in their own ways; what they share is how many heads' widths each has.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping

from arithmoscope.contracts.models import PartSizes

Shape = tuple[int, ...]

_IN_A_LAYER = re.compile(r"(?:^|\.)(?:layers|h)\.(\d+)\.(.+)")
_OWN = re.compile(r"attn\.([qkv])_proj\.(weight|bias)\Z")
# Queries, keys and values in one: Phi-3; GPT-2; GPT-NeoX and Falcon.
_FUSED = re.compile(r"(?:attn\.(?:qkv_proj|c_attn)|attention\.query_key_value)\.(weight|bias)\Z")
# A linear module stores [written, read]. GPT-2's the other way round, but there it is square.
_OUT = re.compile(r"(?:attn\.(?:o_proj|out_proj|c_proj)|attention\.dense)\.weight\Z")
_MLP = re.compile(r"mlp\.\w+\.(weight|bias)\Z")
_QUERY_NORM = re.compile(r"attn\.q_norm\.weight\Z")
_SUFFIX = {"weight": "", "bias": "_bias"}


def part_sizes(shapes: Mapping[str, Shape], heads: int, kv_heads: int) -> PartSizes | None:
    """The sizes of a model's parts; None where its layers differ, or are laid out as in no family that is known."""
    if heads < 1 or kv_heads < 1:
        return None
    layers: defaultdict[str, dict[str, Shape]] = defaultdict(dict)
    for name, shape in shapes.items():
        found = _IN_A_LAYER.search(name)
        if found is not None:
            layers[found[1]][found[2]] = shape
    first, *others = [_of_layer(layer, heads, kv_heads) for layer in layers.values()] or [None]
    return first if all(other == first for other in others) else None


def _of_layer(shapes: Mapping[str, Shape], heads: int, kv_heads: int) -> PartSizes | None:
    sizes: defaultdict[str, int] = defaultdict(int)
    slices = {"q": heads, "k": kv_heads, "v": kv_heads}
    width = queries_normed = 0
    for name, shape in shapes.items():
        size = math.prod(shape)
        if own := _OWN.search(name):
            sizes[own[1] + _SUFFIX[own[2]]] = size // slices[own[1]]
        elif fused := _FUSED.search(name):
            for what in slices:
                sizes[what + _SUFFIX[fused[1]]] = size // sum(slices.values())
        elif _OUT.search(name) and len(shape) == 2:
            sizes["o"], width = size // heads, shape[1]
        elif mlp := _MLP.search(name):
            sizes["mlp" + _SUFFIX[mlp[1]]] += size
        elif _QUERY_NORM.search(name):
            queries_normed = size
    if not all(sizes[part] for part in ("q", "k", "v", "o", "mlp")):
        return None
    head_dim = width // heads
    return PartSizes(**sizes, head_dim=head_dim, normed_together=queries_normed > head_dim)
