"""A tiny model in a folder, made once; and the fixtures of the store's tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.soak.__main__ import write_model

sys.path.insert(0, str(Path(__file__).parent.parent / "store"))


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("soak") / "models"
    write_model(folder)
    return folder
