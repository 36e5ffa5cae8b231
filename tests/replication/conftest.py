"""Makes the engine's tiny models importable by name, and saves one to disk."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with ``tiny`` in it."""
    from tiny import tiny_model  # pyright: ignore[reportMissingImports]

    folder = tmp_path_factory.mktemp("models")
    model = tiny_model("LlamaForCausalLM", torch.float32)
    hf: Any = model.hf
    hf.save_pretrained(folder / "tiny")
    model.tokenizer.save_pretrained(folder / "tiny")
    return folder
