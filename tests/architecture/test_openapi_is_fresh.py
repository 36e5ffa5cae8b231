"""Tests that the committed openapi.json is the one that `make openapi` generates from the code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_openapi_json_is_fresh() -> None:
    completed = subprocess.run(
        [sys.executable, "-m", "arithmoscope_api.write_openapi"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (ROOT / "openapi.json").read_text(encoding="utf-8") == completed.stdout
