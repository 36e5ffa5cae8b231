"""A models folder with a tiny random model under the demo model's id, for the examples of the docstrings."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))

from tiny import tiny_model


@pytest.fixture(scope="session")
def tiny_models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder whose ``smollm2-135m`` has three layers of four heads, random weights, and a chat template."""
    folder = tmp_path_factory.mktemp("models") / "smollm2-135m"
    model = tiny_model("LlamaForCausalLM", torch.float32)
    model.hf.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    size = (folder / "model.safetensors").stat().st_size
    (folder / "arithmoscope.json").write_text(json.dumps({"bytes": size, "revision": "tiny"}))
    return folder.parent
