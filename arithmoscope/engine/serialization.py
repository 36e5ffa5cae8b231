"""Results as safetensors bytes: tensors as they are, all other fields as JSON in the metadata. No pickle.

Deterministic: equal fields give equal bytes.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args, get_type_hints

import torch
from jaxtyping import jaxtyped
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from arithmoscope.contracts.arguments import check_arguments
from arithmoscope.contracts.errors import Refusal

# In place of `Self`, which the tests' check of shapes cannot read.
R = TypeVar("R", bound="TensorResult")
P = TypeVar("P", bound="PairResult")


@dataclass(frozen=True, eq=False)
class TensorResult:
    """Base of results that can be saved: frozen dataclasses whose fields are tensors or JSON.

    The fields' annotations say how a file is read: a jaxtyping annotation is a tensor, and dimensions of one name have
    one size. A class names its ``file_format``, whose number is increased when the stored bytes change, and the
    ``noun`` for its content in messages.
    """

    file_format: ClassVar[str]
    noun: ClassVar[str]

    def to_bytes(self) -> bytes:
        """Serialises to safetensors; text fields are in the metadata.

        Returns:
            The bytes of the file that `save` writes.
        """
        return self._packed()

    @classmethod
    @check_arguments()
    def from_bytes(cls: type[R], data: bytes) -> R:
        """Reads the result of `to_bytes`.

        Args:
            data: The bytes.

        Returns:
            The same result, bit for bit.

        Raises:
            Refusal: ``bad_request`` if the bytes are not such a file.

        Example:
            >>> effects = am.path_patching(model, pairs)
            >>> len(am.PatchingEffects.from_bytes(effects.to_bytes()))
            16
        """
        return cls._read(data, "These bytes contain")

    @check_arguments()
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a safetensors file.

        Args:
            path: The file to write.

        Raises:
            Refusal: ``bad_file`` if the file cannot be written.

        Example:
            >>> am.path_patching(model, pairs).save("effects.safetensors")
        """
        write_file(path, self.to_bytes())

    @classmethod
    @check_arguments()
    def load(cls: type[R], path: str | os.PathLike[str]) -> R:
        """Read a file that `save` wrote.

        Args:
            path: The file to read.

        Returns:
            The same result, bit for bit.

        Raises:
            Refusal: ``bad_request`` if the file has other content, ``bad_file`` if it cannot be read.

        Example:
            >>> am.path_patching(model, pairs).save("effects.safetensors")
            >>> effects = am.PatchingEffects.load("effects.safetensors")
        """
        return cls._read(read_file(path), f"{Path(path).name} contains")

    @classmethod
    def _read(cls: type[R], data: bytes, source: str) -> R:
        try:
            return cls._parsed(data)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise Refusal("bad_request", f"{source} no {cls.noun}.") from error

    def _packed(self) -> bytes:
        return pack(self.file_format, {field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def _parsed(cls: type[R], data: bytes) -> R:
        """The result in ``data``. Other bytes raise ValueError, TypeError, LookupError or AttributeError."""
        stored = unpack(data, cls.file_format)
        tensors, readers = _annotations_of(cls)
        values = {name: read(stored[name]) for name, read in readers.items()}
        sizes = {"pair": len(values["questions"])} if "questions" in values else {}
        with jaxtyped("context"):  # sizes of an enclosing check do not count
            for name, (annotation, dimensions) in tensors.items():
                values[name] = tensor = stored.get(name)
                if not isinstance(tensor, annotation):
                    raise ValueError(f"{name} is missing, or of another type")
                for dimension, size in zip(dimensions, () if tensor is None else tensor.shape, strict=False):
                    if sizes.setdefault(dimension, size) != size:
                        raise ValueError(f"{name} has another size than other tensors")
        return cls(**values)


class PairResult(TensorResult):
    """Base of results on a list of pairs that can be computed in parts: no pair depends on another."""

    questions: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.questions)

    @classmethod
    @check_arguments()
    def concatenate(cls: type[P], parts: Sequence[Any]) -> P:
        """The pairs of several results as one.

        Args:
            parts: Results of one model with the same options.

        Returns:
            All pairs, in order.

        Raises:
            Refusal: ``bad_request`` if there are no parts, or they differ in model or options.

        Example:
            >>> halves = [am.path_patching(model, half) for half in (pairs[:8], pairs[8:])]
            >>> len(am.PatchingEffects.concatenate(halves))
            16
        """
        if not parts or not all(isinstance(part, cls) for part in parts):
            raise Refusal(
                "bad_request",
                f"parts must be a list of at least one {cls.__name__}.",
                "Pass the results to concatenate.",
            )
        tensors, others = _annotations_of(cls)
        joined: dict[str, Any] = {name: getattr(parts[0], name) for name in others}
        differing = [name for name in others if any(getattr(part, name) != joined[name] for part in parts)]
        differing = [name for name in differing if name != "questions"]
        joined["questions"] = tuple(question for part in parts for question in part.questions)
        for name, (_, dimensions) in tensors.items():
            values = [getattr(part, name) for part in parts]
            joined[name] = values[0]
            if all(value is None for value in values):
                continue
            try:
                if "pair" in dimensions:
                    joined[name] = torch.cat(values, dimensions.index("pair"))
                elif not all(torch.equal(value, values[0]) for value in values):
                    differing.append(name)
            except (RuntimeError, TypeError):  # other sizes, or not in every part
                differing.append(name)
        if differing:
            raise Refusal(
                "bad_request",
                f"Results that differ in {', '.join(differing)} cannot be concatenated.",
                "Concatenate results of one model with the same options.",
            )
        return cls(**joined)


@functools.cache
def _annotations_of(
    cls: type[TensorResult],
) -> tuple[dict[str, tuple[Any, list[str]]], dict[str, Callable[[Any], Any]]]:
    """The annotation and dimensions of each tensor field; for each other field, a function that reads its JSON."""
    hints = get_type_hints(cls)
    tensors: dict[str, tuple[Any, list[str]]] = {}
    readers: dict[str, Callable[[Any], Any]] = {}
    for field in fields(cls):
        hint = hints[field.name]
        array = next((each for each in (hint, *get_args(hint)) if hasattr(each, "dim_str")), None)
        if array is None:
            readers[field.name] = TypeAdapter(hint).validate_python
        else:
            tensors[field.name] = hint, array.dim_str.split()
    return tensors, readers


def pack(kind: str, fields: Mapping[str, Any]) -> bytes:
    """Serialises named tensors and JSON values. ``kind`` names the format; reading checks it."""
    tensors = {name: value.contiguous() for name, value in fields.items() if isinstance(value, Tensor)}
    values = {name: value for name, value in fields.items() if not isinstance(value, Tensor)}
    # A single metadata entry: safetensors writes several in arbitrary order, and equal results would differ in bytes.
    return save(tensors, {"words": json.dumps({"format": kind, "words": values}, default=asdict)})


def unpack(data: bytes, kind: str) -> dict[str, Any]:
    """The fields that `pack` wrote.

    Raises:
        ValueError: The bytes are not of this kind.
    """
    return {**json_fields(data, kind), **tensors_in(data)}


def json_fields(data: bytes, kind: str) -> dict[str, Any]:
    """The fields that `pack` wrote, without the tensors; copies no tensor.

    Raises:
        ValueError: The bytes are not of this kind.
    """
    try:
        metadata = json.loads(metadata_of(data)["words"])
        if metadata["format"] != kind:
            raise ValueError("another kind")
        return {**metadata["words"]}
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not of the kind {kind}") from error


def metadata_of(data: bytes) -> dict[str, str]:
    """The metadata of safetensors bytes.

    Raises:
        ValueError: The bytes have none.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        return json.loads(data[8 : 8 + length])["__metadata__"]
    except (KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError("these bytes have no metadata") from error


def tensors_in(data: bytes) -> dict[str, Tensor]:
    """The tensors in safetensors bytes, by name.

    Raises:
        ValueError: The bytes are not safetensors.
    """
    try:
        return load(data)
    except (SafetensorError, KeyError, TypeError, OverflowError) as error:
        raise ValueError("these bytes are not safetensors") from error


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
