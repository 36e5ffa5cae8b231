"""Tests that every run checks the engine's declared shapes."""

from __future__ import annotations

import pytest
import torch
from jaxtyping import TypeCheckError

from arithmoscope.engine.measures.metrics import summarise


def test_a_tensor_of_another_shape_than_named_is_caught() -> None:
    with pytest.raises(TypeCheckError, match="summarise"):
        summarise(torch.zeros(2, 3), ["a", "b"])
