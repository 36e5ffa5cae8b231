"""Tests of `arithmoscope models fetch ORG/NAME`: a model from the hub becomes an ordinary folder of MODELS_DIR."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from arithmoscope.cli import models
from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.models.catalogue import Catalogue, ModelLocation
from arithmoscope.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", models_dir=tmp_path / "models", allow_hub=True)


def snapshot(folder: Path, architecture: str = "LlamaForCausalLM", weights: bytes = bytes(4)) -> Path:
    """A hub model as the hub's cache stores it: links to files named by their hashes."""
    blobs, commit = folder / "blobs", folder / "snapshots" / "0123abc"
    blobs.mkdir(parents=True, exist_ok=True)
    commit.mkdir(parents=True, exist_ok=True)
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    config = {"architectures": [architecture], "num_hidden_layers": 2, "num_attention_heads": 4}
    for name, data in {
        "config.json": json.dumps(config).encode(),
        "tokenizer.json": b"{}",
        "model.safetensors": len(header).to_bytes(8, "little") + header + weights,
        "pytorch_model.bin": b"not wanted",
    }.items():
        (blobs / f"hash-of-{name}").write_bytes(data)
        (commit / name).unlink(missing_ok=True)
        (commit / name).symlink_to(blobs / f"hash-of-{name}")
    return commit


def hub(commit: Path):
    """A download function for hub models that needs no network."""
    return lambda _model_id: ModelLocation(str(commit), None, Catalogue(commit.parent).card(commit.name))


def test_a_hub_model_becomes_a_folder_that_the_catalogue_lists(settings: Settings, tmp_path: Path) -> None:
    output = models.fetch(settings, "org/name", lambda _: None, hub(snapshot(tmp_path / "hub")))
    assert output.startswith("org--name: org/name, 2 layers x 4 heads")
    card = Catalogue(settings.models_dir).card("org--name")
    assert (card.supported, card.name) == (True, "org/name")
    folder = settings.models_dir / "org--name"
    assert sorted(file.name for file in folder.iterdir()) == [
        "arithmoscope.json",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert not any(file.is_symlink() for file in folder.iterdir()), "the hub's cache may be emptied"
    assert not [path for path in settings.models_dir.iterdir() if path.name.startswith(".fetched")]


def test_a_model_that_is_fetched_again_is_replaced(settings: Settings, tmp_path: Path) -> None:
    models.fetch(settings, "org/name", lambda _: None, hub(snapshot(tmp_path / "hub")))
    before = Catalogue(settings.models_dir).card("org--name")
    models.fetch(settings, "org/name", lambda _: None, hub(snapshot(tmp_path / "newer", weights=b"else")))
    after = Catalogue(settings.models_dir).card("org--name")
    assert after.supported
    assert before.revision != after.revision


def test_a_hub_model_that_cannot_run_is_refused_and_leaves_nothing(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="org/odd cannot run here"):
        models.fetch(settings, "org/odd", lambda _: None, hub(snapshot(tmp_path / "hub", "OddForCausalLM")))
    assert not (settings.models_dir / "org--odd").exists()


def test_a_hub_name_is_refused_where_the_hub_is_off(settings: Settings) -> None:
    closed = settings.model_copy(update={"allow_hub": False})
    with pytest.raises(Refusal, match="ARITHMOSCOPE_ALLOW_HUB"):
        models.fetch(closed, "org/name", lambda _: None)
