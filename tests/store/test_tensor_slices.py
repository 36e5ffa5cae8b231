"""One slice of a safetensors file, against the library that writes them."""

from __future__ import annotations

import io
import json
import struct

import numpy as np
import pytest
from safetensors.numpy import save

from arithmoscope.contracts.errors import Refusal
from arithmoscope.store.tensor_slices import read_slice

PATTERN = np.linspace(0, 1, 3 * 4 * 5 * 5, dtype=np.float32).reshape(3, 4, 5, 5)
FILE = save({"prompt.0": PATTERN, "prompt.7": PATTERN[::-1].copy()}, {"made": "here"})


def refused(code: str):
    return pytest.raises(Refusal, check=lambda refusal: refusal.code == code)


def made_by_hand(header: object, data: bytes = b"") -> io.BytesIO:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return io.BytesIO(struct.pack("<Q", len(text)) + text + data)


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize(("name", "pattern"), [("prompt.0", PATTERN), ("prompt.7", PATTERN[::-1])])
def test_a_slice_is_what_was_saved_rounded_to_six_decimals(name: str, pattern: np.ndarray, layer: int) -> None:
    tensor = read_slice(io.BytesIO(FILE), name, layer)
    np.testing.assert_allclose(tensor, pattern[layer], atol=6e-7)
    assert all(len(str(cell)) <= 8 for head in tensor for row in head for cell in row)
    assert np.shape(tensor) == (4, 5, 5)


def test_no_more_is_read_than_the_header_and_the_slice() -> None:
    class Counting(io.BytesIO):
        read_bytes = 0

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            self.read_bytes += len(data)
            return data

    large = np.zeros((30, 9, 40, 40), dtype=np.float32)
    file = Counting(save({"prompt.0": large}))
    read_slice(file, "prompt.0", 29)
    assert file.read_bytes < large[0].nbytes + 1000


@pytest.mark.parametrize(("name", "layer"), [("prompt.1", 0), ("__metadata__", 0), ("prompt.0", 3), ("prompt.0", -1)])
def test_an_unknown_tensor_or_layer_is_out_of_range(name: str, layer: int) -> None:
    with refused("out_of_range"):
        read_slice(io.BytesIO(FILE), name, layer)


def entry(**changed: object) -> dict[str, object]:
    return {"x": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16], **changed}}


@pytest.mark.parametrize(
    "file",
    [
        io.BytesIO(b""),
        io.BytesIO(b"\xff" * 8),
        io.BytesIO(b"\xff" * 100),
        io.BytesIO(FILE[:40]),
        made_by_hand(b"{not json"),
        made_by_hand([1, 2]),
        made_by_hand({"x": 5}, b"\0" * 16),
        made_by_hand(entry(dtype="F16"), b"\0" * 16),
        made_by_hand(entry(shape=[]), b"\0" * 16),
        made_by_hand(entry(shape=[2, -2]), b"\0" * 16),
        made_by_hand(entry(shape=[2, 2.0]), b"\0" * 16),
        made_by_hand(entry(shape=[2, 3]), b"\0" * 16),
        made_by_hand(entry(data_offsets=[0, 20]), b"\0" * 20),
        made_by_hand(entry(data_offsets=[-16, 0]), b"\0" * 16),
        made_by_hand(entry(data_offsets=[16, 0]), b"\0" * 16),
        made_by_hand(entry(), b"\0" * 12),
    ],
)
def test_a_file_that_does_not_add_up_is_refused(file: io.BytesIO) -> None:
    with refused("no_result"):
        read_slice(file, "x", 0)


def test_numbers_that_are_not_finite_never_leave() -> None:
    with refused("not_finite"):
        read_slice(io.BytesIO(save({"x": np.array([[1.0, np.nan]], dtype=np.float32)})), "x", 0)
