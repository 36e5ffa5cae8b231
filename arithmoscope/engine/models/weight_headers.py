"""What weight files say of themselves: names and shapes, read from their headers, before any weight is."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INDEX = "model.safetensors.index.json"
_WHOLE = "model.safetensors"
_MOST_HEADER_BYTES = 100_000_000  # safetensors' own limit
_IN_A_LAYER = re.compile(r"\.\d+\.")

# Bytes of one number.
_WIDTHS = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
# int8 keeps the layers' matrices in 8 bits and everything else in this.
INT8_REST = "float32"


@dataclass(frozen=True, slots=True)
class Weights:
    """How many numbers a model has (``parameters``), how many of them lie in its layers' matrices, and how many in its
    largest tensor. ``packed``: they are unpacked while they load."""

    parameters: int
    matrices: int
    largest: int
    packed: bool = False

    def bytes_in(self, dtype: str) -> int:
        """Bytes of the loaded weights in ``dtype``: a key of the engine's table, ``int8`` included."""
        if dtype == "int8":
            return self.matrices + (self.parameters - self.matrices) * _WIDTHS[INT8_REST]
        return self.parameters * _WIDTHS[dtype]

    def passing_bytes(self, dtype: str) -> int:
        """Bytes beyond the weights that loading takes for a moment. Measured: nothing where a file's numbers are taken
        over or cast; twice the largest tensor in float32 where each is unpacked (GGUF) or packed (int8)."""
        return 2 * 4 * self.largest if self.packed or dtype == "int8" else 0


def safetensors_files(folder: Path) -> list[Path]:
    """The files that a folder's weights are loaded from: the whole one, else the shards that its index names, in
    order. Empty where there are none. Raises ValueError for an index that cannot be followed."""
    if (folder / _WHOLE).is_file():
        return [folder / _WHOLE]
    if not (folder / INDEX).is_file():
        if next(folder.glob("model-*-of-*.safetensors"), None) is not None:
            raise ValueError(f"{INDEX} is missing, which says what is in which shard.")
        return []
    if (folder / INDEX).stat().st_size > _MOST_HEADER_BYTES:
        raise ValueError(f"{INDEX} is too large.")
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    names = sorted(set(index["weight_map"].values()))
    for name in names:
        if Path(name).name != name:
            raise ValueError(f"{INDEX} names {name[:80]!r}, which is no file of this folder.")
        if not (folder / name).is_file():
            raise ValueError(f"The shard {name[:80]} is missing.")
    return [folder / name for name in names]


def read_shapes(files: Iterable[Path]) -> dict[str, tuple[int, ...]]:
    """The tensors that some safetensors files hold, by name. Raises ValueError, KeyError or TypeError for what is none,
    or half of one."""
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        shapes.update(_shapes(file))
    return shapes


def weights_of(shapes: Mapping[str, tuple[int, ...]], *, packed: bool = False) -> Weights:
    """The sums over tensors of these names and shapes."""
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    matrices = sum(sizes[name] for name, shape in shapes.items() if len(shape) == 2 and _IN_A_LAYER.search(name))
    return Weights(sum(sizes.values()), matrices, max(sizes.values(), default=0), packed)


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        if length > _MOST_HEADER_BYTES:
            raise ValueError(f"{file.name} has no safetensors header.")
        header: dict[str, Any] = json.loads(stream.read(length))
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    end = 8 + length + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    size = file.stat().st_size
    if size < end:
        raise ValueError(f"{file.name} is cut off: {size:,} of {end:,} bytes.")
    return {name: _shape(file, name, entry["shape"]) for name, entry in entries.items()}


def _shape(file: Path, name: str, sides: Any) -> tuple[int, ...]:
    if not isinstance(sides, list) or any(type(side) is not int or side < 0 for side in sides):
        raise ValueError(f"{file.name} gives {name[:80]!r} no shape.")
    return tuple(sides)
