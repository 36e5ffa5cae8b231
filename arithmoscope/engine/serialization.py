"""Results as safetensors bytes: tensors as they are, all other fields as JSON in the metadata. No pickle.

Deterministic: equal fields give equal bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from arithmoscope.contracts.errors import Refusal


def pack(kind: str, fields: Mapping[str, Any]) -> bytes:
    """Serialises named tensors and JSON values. ``kind`` names the format; reading checks it."""
    tensors = {name: value.contiguous() for name, value in fields.items() if isinstance(value, Tensor)}
    values = {name: value for name, value in fields.items() if not isinstance(value, Tensor)}
    # A single metadata entry: safetensors writes several in arbitrary order, and equal results would differ in bytes.
    return save(tensors, {"words": json.dumps({"format": kind, "words": values})})


def unpack(data: bytes, kind: str) -> dict[str, Any]:
    """The fields that `pack` wrote.

    Raises:
        ValueError: The bytes are not of this kind.
    """
    values = json_fields(data, kind)
    try:
        return {**values, **load(data)}
    except (SafetensorError, KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"not of the kind {kind}") from error


def json_fields(data: bytes, kind: str) -> dict[str, Any]:
    """The fields that `pack` wrote, without the tensors; copies no tensor.

    Raises:
        ValueError: The bytes are not of this kind.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        metadata = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["words"])
        if metadata["format"] != kind:
            raise ValueError("another kind")
        return {**metadata["words"]}
    except (KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"not of the kind {kind}") from error


def write_tensors(path: str | os.PathLike[str], kind: str, fields: Mapping[str, Any]) -> None:
    """Writes fields to a safetensors file."""
    write_file(path, tensor_bytes(kind, fields))


def tensor_bytes(kind: str, fields: Mapping[str, Any]) -> bytes:
    """The bytes that `write_tensors` writes."""
    return pack(_format(kind), fields)


def read_tensors(path: str | os.PathLike[str], kind: str) -> dict[str, Any]:
    """The fields in a file that `write_tensors` wrote.

    Raises:
        Refusal: ``bad_request`` if the file is of another kind, ``bad_file`` if it cannot be read.
    """
    data = read_file(path)
    try:
        return unpack(data, _format(kind))
    except ValueError as error:
        raise Refusal("bad_request", f"{Path(path).name} contains no {kind.replace('_', ' ')}.") from error


def write_file(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes a file.

    Raises:
        Refusal: ``bad_file`` if it cannot be written.
    """
    with file_errors(path, "written"):
        Path(path).write_bytes(data)


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file.

    Raises:
        Refusal: ``bad_file`` if it cannot be read.
    """
    with file_errors(path, "read"):
        return Path(path).read_bytes()


@contextmanager
def file_errors(path: str | os.PathLike[str], done: str) -> Iterator[None]:
    """Turns system errors inside the block into a Refusal (``bad_file``); ``done``: ``"read"`` or ``"written"``."""
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a path that the system cannot encode
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is not a path"
        way_out = "Name another file."
        if isinstance(error, IsADirectoryError):
            way_out = "Name a file in this folder."
        elif isinstance(error, FileNotFoundError):
            folder = str(Path(path).parent)
            way_out = f"Create the folder {folder!r} first." if done == "written" else "Check its name."
        raise Refusal("bad_file", f"{str(path)[:200]!r} cannot be {done}: {reason}.", way_out) from error


def _format(kind: str) -> str:
    return f"arithmoscope.{kind}.1"
