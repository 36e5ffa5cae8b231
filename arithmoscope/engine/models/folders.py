"""Model folders: the default location, completeness of a converted model, small JSON files."""

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
# The small model that is part of this package: it is ready without being fetched.
ADDER_ID = "adder"
ADDER_FOLDER = Path(__file__).resolve().parents[2] / "adder"


def default_models_dir() -> Path:
    """ARITHMOSCOPE_MODELS_DIR if set, else the folder in the user's cache."""
    configured = os.environ.get("ARITHMOSCOPE_MODELS_DIR")
    return Path(configured).expanduser() if configured else cached_models_dir()


def cached_models_dir() -> Path:
    """The models folder in the user's cache, shared by all data folders: models are large and can be fetched again."""
    if sys.platform == "darwin":
        cache = Path("~/Library/Caches")
    else:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return cache.expanduser() / "arithmoscope" / "models"


def is_whole(folder: Path) -> bool:
    """True if a converted model exists and its weight file still has the size that its manifest records."""
    try:
        size = (folder / "model.safetensors").stat().st_size
    except OSError:
        return False
    return size > 0 and read_json(folder / MANIFEST).get("bytes") == size


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty if the file is missing, unreadable or not an object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def write_atomically(path: Path, text: str) -> None:
    """Writes a file atomically: readers see the old text or the new, never part of it."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as out:
        try:
            out.write(text)
            out.flush()
            os.replace(out.name, path)
        except OSError:
            os.unlink(out.name)
            raise
