"""Parameter counts of a model's tunable parts, from the names and shapes of its weights. Needs no torch.

Families name and fuse their projections differently; the number of heads in each projection is the same in all.
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
# Queries, keys and values in one matrix: Phi-3; GPT-2; GPT-NeoX and Falcon.
_FUSED = re.compile(r"(?:attn\.(?:qkv_proj|c_attn)|attention\.query_key_value)\.(weight|bias)\Z")
# A linear module stores [out, in]; GPT-2's stores [in, out], but there the matrix is square.
_OUT = re.compile(r"(?:attn\.(?:o_proj|out_proj|c_proj)|attention\.dense)\.weight\Z")
_MLP = re.compile(r"mlp\.\w+\.(weight|bias)\Z")
_QUERY_NORM = re.compile(r"attn\.q_norm\.weight\Z")
_SUFFIX = {"weight": "", "bias": "_bias"}


def part_sizes(shapes: Mapping[str, Shape], heads: int, kv_heads: int) -> PartSizes | None:
    """The sizes of a model's parts; None if its layers differ or follow no known family's layout."""
    if heads < 1 or kv_heads < 1:
        return None
    layers: defaultdict[str, dict[str, Shape]] = defaultdict(dict)
    for name, shape in shapes.items():
        match = _IN_A_LAYER.search(name)
        if match is not None:
            layers[match[1]][match[2]] = shape
    first, *others = [_layer_sizes(layer, heads, kv_heads) for layer in layers.values()] or [None]
    return first if all(other == first for other in others) else None


def _layer_sizes(shapes: Mapping[str, Shape], heads: int, kv_heads: int) -> PartSizes | None:
    sizes: defaultdict[str, int] = defaultdict(int)
    slices = {"q": heads, "k": kv_heads, "v": kv_heads}
    width = query_norm_size = 0
    for name, shape in shapes.items():
        size = math.prod(shape)
        if own := _OWN.search(name):
            sizes[own[1] + _SUFFIX[own[2]]] = size // slices[own[1]]
        elif fused := _FUSED.search(name):
            for part in slices:
                sizes[part + _SUFFIX[fused[1]]] = size // sum(slices.values())
        elif _OUT.search(name) and len(shape) == 2:
            sizes["o"], width = size // heads, shape[1]
        elif mlp := _MLP.search(name):
            sizes["mlp" + _SUFFIX[mlp[1]]] += size
        elif _QUERY_NORM.search(name):
            query_norm_size = size
    if not all(sizes[part] for part in ("q", "k", "v", "o", "mlp")):
        return None
    head_dim = width // heads
    return PartSizes(**sizes, head_dim=head_dim, normed_together=query_norm_size > head_dim)
