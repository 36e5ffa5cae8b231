"""Frozen results as safetensors files: tensors as they are, everything else as JSON beside them. No pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from contracts.errors import Refusal


def write_tensors(path: str | os.PathLike[str], kind: str, fields: Mapping[str, Any]) -> None:
    """Write named tensors and JSON values; ``kind`` says what they are, and is asked for when they are read."""
    tensors = {name: value.contiguous() for name, value in fields.items() if isinstance(value, Tensor)}
    words = {name: value for name, value in fields.items() if not isinstance(value, Tensor)}
    save_file(tensors, Path(path), {"format": f"arithmoscope.{kind}.1", "words": json.dumps(words)})


def read_tensors(path: str | os.PathLike[str], kind: str) -> dict[str, Any]:
    """What `write_tensors` wrote. Refuses (``bad_request``) any other file."""
    path = Path(path)
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            if metadata["format"] != f"arithmoscope.{kind}.1":
                raise ValueError("another kind")
            words = json.loads(metadata["words"])
            return {**words, **{name: file.get_tensor(name) for name in file.keys()}}  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise Refusal("bad_request", f"{path.name} holds no {kind.replace('_', ' ')}.") from error
