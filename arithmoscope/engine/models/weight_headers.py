"""Names and shapes of a model's tensors, read from the headers of its weight files without reading a weight."""

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
_MAX_HEADER_BYTES = 100_000_000  # safetensors' own limit
_IN_A_LAYER = re.compile(r"\.\d+\.")

# Bytes per number.
_WIDTHS = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
# With int8, only the layers' matrices have 8 bits; everything else has this dtype.
INT8_REST = "float32"


@dataclass(frozen=True, slots=True)
class Weights:
    """Parameter counts of a model: all of them, those in its layers' ``matrices``, those of its ``largest`` tensor.
    ``packed``: the weights are quantised and are unpacked while they load."""

    parameters: int
    matrices: int
    largest: int
    packed: bool = False

    def bytes_in(self, dtype: str) -> int:
        """Bytes of the loaded weights in ``dtype``: a key of the engine's table, ``int8`` included."""
        if dtype == "int8":
            return self.matrices + (self.parameters - self.matrices) * _WIDTHS[INT8_REST]
        return self.parameters * _WIDTHS[dtype]

    def transient_bytes(self, dtype: str) -> int:
        """Bytes beyond the weights that loading needs temporarily. Measured: none where tensors are copied or cast;
        twice the largest tensor in float32 where each is unpacked (GGUF) or packed (int8)."""
        return 2 * 4 * self.largest if self.packed or dtype == "int8" else 0


def safetensors_files(folder: Path) -> list[Path]:
    """The files that a folder's weights are loaded from: model.safetensors, else the shards in its index, in order.
    Empty if there are none.

    Raises:
        ValueError: The index is missing, too large, or names files that do not exist in the folder.
    """
    if (folder / _WHOLE).is_file():
        return [folder / _WHOLE]
    if not (folder / INDEX).is_file():
        if next(folder.glob("model-*-of-*.safetensors"), None) is not None:
            raise ValueError(f"{INDEX} is missing, which lists the tensors of each shard.")
        return []
    if (folder / INDEX).stat().st_size > _MAX_HEADER_BYTES:
        raise ValueError(f"{INDEX} is too large.")
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    names = sorted(set(index["weight_map"].values()))
    for name in names:
        if Path(name).name != name:
            raise ValueError(f"{INDEX} names {name[:80]!r}, which is not a file in this folder.")
        if not (folder / name).is_file():
            raise ValueError(f"The shard {name[:80]} is missing.")
    return [folder / name for name in names]


def read_shapes(files: Iterable[Path]) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors in safetensors files, by name.

    Raises:
        ValueError, KeyError, TypeError: A file is not in safetensors format or is truncated.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        shapes.update(_shapes(file))
    return shapes


def weights_of(shapes: Mapping[str, tuple[int, ...]], *, packed: bool = False) -> Weights:
    """The parameter counts over tensors with these names and shapes."""
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    matrices = sum(sizes[name] for name, shape in shapes.items() if len(shape) == 2 and _IN_A_LAYER.search(name))
    return Weights(sum(sizes.values()), matrices, max(sizes.values(), default=0), packed)


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        if length > _MAX_HEADER_BYTES:
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
        raise ValueError(f"{file.name} gives {name[:80]!r} no valid shape.")
    return tuple(sides)
