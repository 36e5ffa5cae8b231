"""Frozen results as safetensors: tensors as they are, everything else as JSON beside them. No pickle.

The same fields are always the same bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from arithmoscope.contracts.errors import Refusal


def pack(kind: str, fields: Mapping[str, Any]) -> bytes:
    """Named tensors and JSON values; ``kind`` says what they are, and is asked for when they are read."""
    tensors = {name: value.contiguous() for name, value in fields.items() if isinstance(value, Tensor)}
    words = {name: value for name, value in fields.items() if not isinstance(value, Tensor)}
    # One entry: several would be written in any order, and equal results would be other bytes.
    return save(tensors, {"words": json.dumps({"format": kind, "words": words})})


def unpack(data: bytes, kind: str) -> dict[str, Any]:
    """What `pack` wrote. Raises `ValueError` for anything else."""
    words = words_of(data, kind)
    try:
        return {**words, **load(data)}
    except (SafetensorError, KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"not of the kind {kind}") from error


def words_of(data: bytes, kind: str) -> dict[str, Any]:
    """Of what `pack` wrote all but the tensors, of which none is copied. Raises `ValueError` for anything else."""
    try:
        length = int.from_bytes(data[:8], "little")
        said = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["words"])
        if said["format"] != kind:
            raise ValueError("another kind")
        return {**said["words"]}
    except (KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"not of the kind {kind}") from error


def write_tensors(path: str | os.PathLike[str], kind: str, fields: Mapping[str, Any]) -> None:
    """`pack` into a file."""
    Path(path).write_bytes(tensor_bytes(kind, fields))


def tensor_bytes(kind: str, fields: Mapping[str, Any]) -> bytes:
    """What `write_tensors` writes."""
    return pack(_format(kind), fields)


def read_tensors(path: str | os.PathLike[str], kind: str) -> dict[str, Any]:
    """What `write_tensors` wrote. Refuses (``bad_request``) any other file."""
    path = Path(path)
    try:
        return unpack(path.read_bytes(), _format(kind))
    except ValueError as error:
        raise Refusal("bad_request", f"{path.name} holds no {kind.replace('_', ' ')}.") from error


def _format(kind: str) -> str:
    return f"arithmoscope.{kind}.1"
