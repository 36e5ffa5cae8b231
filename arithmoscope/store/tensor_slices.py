"""Reads one slice of one tensor from a safetensors file, with the standard library only.

Format: 8 bytes, little endian, the header's length; the header, JSON, ``{name: {dtype, shape, data_offsets: [begin,
end]}}``, offsets from the header's end; then the raw numbers. The API reads attention patterns with it and so needs
no numpy.
"""

from __future__ import annotations

import json
import math
import os
import sys
from array import array
from typing import Any, BinaryIO, cast

from arithmoscope.contracts.errors import Refusal

DIGITS = 6
_MAX_HEADER_BYTES = 16 * 1024 * 1024
_FLOAT32_BYTES = 4


def read_slice(file: BinaryIO, name: str, index: int) -> list[Any]:
    """Returns ``tensor[index]`` of a float32 tensor as nested lists, rounded to 6 decimals; reads only that slice.

    Raises Refusal `out_of_range` if the tensor or index does not exist, `no_result` if the file is malformed.
    """
    file_size = file.seek(0, os.SEEK_END)
    file.seek(0)
    header_size = int.from_bytes(_read_exactly(file, 8), "little")
    if not 2 <= header_size <= min(_MAX_HEADER_BYTES, file_size - 8):
        raise _damaged("its header has an invalid size")
    shape, begin = _locate(_header(_read_exactly(file, header_size)), name, file_size - 8 - header_size)
    if not 0 <= index < shape[0]:
        raise Refusal("out_of_range", f"{name!r} has {shape[0]} slices, counted from 0; index {index} is out of range.")
    size = math.prod(shape[1:]) * _FLOAT32_BYTES
    file.seek(8 + header_size + begin + index * size)
    numbers = array("f")
    numbers.frombytes(_read_exactly(file, size))
    if sys.byteorder == "big":
        numbers.byteswap()
    if not all(map(math.isfinite, numbers)):
        raise Refusal("not_finite", f"{name!r} contains non-finite numbers.")
    return _nested([round(number, DIGITS) for number in numbers], shape[1:])


def _header(raw: bytes) -> dict[str, Any]:
    try:
        header = json.loads(raw)
    except ValueError as error:
        raise _damaged("its header is not JSON") from error
    if not isinstance(header, dict):
        raise _damaged("its header is not an object")
    return cast(dict[str, Any], header)


def _locate(header: dict[str, Any], name: str, data_size: int) -> tuple[list[int], int]:
    """The tensor's shape and offset, validated against the file's size."""
    entry = header.get(name)
    if entry is None or name == "__metadata__":
        raise Refusal("out_of_range", f"There is no {name[:40]!r} in the result.")
    match entry:
        case {"dtype": "F32", "shape": [*shape], "data_offsets": [int(begin), int(end)]}:
            pass
        case _:
            raise _damaged(f"{name!r} is not a float32 tensor")
    if not shape or not all(isinstance(length, int) and length >= 0 for length in shape):
        raise _damaged(f"{name!r} has an invalid shape")
    if not 0 <= begin <= end <= data_size or end - begin != math.prod(shape) * _FLOAT32_BYTES:
        raise _damaged(f"{name!r} exceeds the file")
    return shape, begin


def _read_exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise _damaged("it is truncated")
    return data


def _nested(numbers: list[float], shape: list[int]) -> Any:
    if len(shape) <= 1:
        return numbers if shape else numbers[0]
    step = math.prod(shape[1:])
    return [_nested(numbers[row * step : (row + 1) * step], shape[1:]) for row in range(shape[0])]


def _damaged(reason: str) -> Refusal:
    return Refusal("no_result", f"The stored tensors cannot be read: {reason}.")
