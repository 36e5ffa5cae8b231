"""Folders of models: where they are by default, and whether a converted model is complete."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

DEMO_ID = "smollm2-135m"
DEMO_NAME = "SmolLM2-135M-Instruct (Q4_1, dequantised)"
MANIFEST = "arithmoscope.json"


def default_models_dir() -> Path:
    """ARITHMOSCOPE_MODELS_DIR, else the folder in the user's cache."""
    told = os.environ.get("ARITHMOSCOPE_MODELS_DIR")
    return Path(told).expanduser() if told else cached_models_dir()


def cached_models_dir() -> Path:
    """A folder in the user's cache, shared by all data folders: models are large and can be fetched again."""
    if sys.platform == "darwin":
        cache = Path("~/Library/Caches")
    else:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return cache.expanduser() / "arithmoscope" / "models"


def is_whole(folder: Path) -> bool:
    """Whether a converted demo model is there, its weights as long as they were when they were written."""
    try:
        size = (folder / "model.safetensors").stat().st_size
    except OSError:
        return False
    return size > 0 and read_json(folder / MANIFEST).get("bytes") == size


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def write_whole(path: Path, text: str) -> None:
    """Write a file in one step: readers see the old text or the new, never half."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as out:
        try:
            out.write(text)
            out.flush()
            os.replace(out.name, path)
        except OSError:
            os.unlink(out.name)
            raise
