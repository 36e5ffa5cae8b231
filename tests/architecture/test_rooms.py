"""The one-way rule, held by import-linter and by fresh interpreters; and no file grows past reading."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = (
    "arithmoscope",
    "contracts",
    "prompts",
    "store",
    "engine",
    "worker",
    "backend",
    "findings",
    "tests",
    "benchmarks",
)
SCIENCE = ("torch", "transformers", "numpy", "safetensors", "scipy", "pandas")
MAX_LINES = 400


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)


def test_rooms_import_one_way_only() -> None:
    linted = _run("-c", "from importlinter.cli import lint_imports_command; lint_imports_command()")
    assert linted.returncode == 0, linted.stdout + linted.stderr


@pytest.mark.parametrize(
    "module",
    [
        "arithmoscope_api.app",
        "arithmoscope_api.serve",
        "arithmoscope.cli.main",
        "arithmoscope.serve.supervisor",
        "arithmoscope.engine.models.catalogue",
        "arithmoscope_worker.app",
    ],
)
def test_importing_a_door_loads_no_science(module: str) -> None:
    said = _run("-c", f"import sys, {module}; print([name for name in {SCIENCE} if name in sys.modules])")
    assert said.stdout.strip() == "[]", said.stdout + said.stderr


def test_help_loads_no_server_and_no_science() -> None:
    heavy = (*SCIENCE, "fastapi", "celery", "sqlalchemy")
    program = (
        "import sys\nfrom arithmoscope.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    said = _run("-c", program)
    assert said.stdout.strip().endswith("[]"), said.stdout + said.stderr


def test_no_file_is_longer_than_anyone_wants_to_read() -> None:
    files = [file for room in ROOMS for file in (ROOT / room).rglob("*.py")]
    page = [file for kind in ("*.ts", "*.tsx") for file in (ROOT / "frontend" / "src").rglob(kind)]
    generated = ROOT / "frontend" / "src" / "api" / "types.ts"
    assert len(files) > 50
    too_long = {
        str(file.relative_to(ROOT)): lines
        for file in files + page
        if file != generated and (lines := len(file.read_text(encoding="utf-8").splitlines())) > MAX_LINES
    }
    assert too_long == {}


def test_no_two_test_files_share_a_name() -> None:
    """pytest imports them by their name alone: two of one name cannot run in one go."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
