"""Tests that plain pytest checks the engine's declared shapes."""

from __future__ import annotations

import pytest
import torch
from jaxtyping import TypeCheckError

from arithmoscope.engine.measures.metrics import summarise


def test_a_tensor_of_another_shape_than_named_is_caught(request: pytest.FixtureRequest) -> None:
    if request.config.option.markexpr != "not slow":
        pytest.skip("shapes are checked in plain pytest")
    with pytest.raises(TypeCheckError, match="summarise"):
        summarise(torch.zeros(2, 3), ["a", "b"])
