"""Tests of the one-way rule, by import-linter and in fresh interpreters; and no file is longer than 400 lines."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
PACKAGES = {
    "arithmoscope": ROOT / "arithmoscope",
    "arithmoscope_api": ROOT / "backend" / "arithmoscope_api",
    "arithmoscope_worker": ROOT / "worker" / "arithmoscope_worker",
}
SCIENCE = ("torch", "transformers", "numpy", "safetensors", "scipy", "pandas")
MAX_LINES = 400


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)


def test_packages_import_one_way_only() -> None:
    linted = _run("-c", "from importlinter.cli import lint_imports_command; lint_imports_command()")
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_every_package_has_its_layer() -> None:
    """The layers in pyproject.toml are the only list of packages: a package missing there is in no rule."""
    assert PYPROJECT["importlinter"]["root_packages"] == list(PACKAGES)
    (layers,) = (
        c["layers"] for c in PYPROJECT["importlinter"]["contracts"] if "arithmoscope.cli" in c.get("layers", ())
    )
    listed = {package.strip() for layer in layers for package in layer.split("|")}
    inside = {f"arithmoscope.{init.parent.name}" for init in PACKAGES["arithmoscope"].glob("*/__init__.py")}
    assert inside | {"arithmoscope_api", "arithmoscope_worker"} <= listed


def test_what_is_checked_and_shipped_are_the_packages_folders() -> None:
    sources = {str(folder.relative_to(ROOT).parts[0]) for folder in PACKAGES.values()}
    assert sources <= set(PYPROJECT["pyright"]["include"])
    assert set(PYPROJECT["setuptools"]["packages"]["find"]["where"]) == {
        str(folder.parent.relative_to(ROOT)) for folder in PACKAGES.values()
    }
    for image in (ROOT / "backend" / "Dockerfile", ROOT / "worker" / "Dockerfile"):
        copied = {line.split()[1].rstrip("/") for line in image.read_text().splitlines() if line.startswith("COPY ")}
        assert sources <= copied, image


@pytest.mark.parametrize(
    "module",
    [
        "arithmoscope",
        "arithmoscope.cli.main",
        "arithmoscope.engine.models.catalogue",
        "arithmoscope.serve.supervisor",
        "arithmoscope_api.app",
        "arithmoscope_api.serve",
        "arithmoscope_worker.app",
    ],
)
def test_what_needs_no_science_loads_none(module: str) -> None:
    loaded = _run("-c", f"import sys, {module}; print([name for name in {SCIENCE} if name in sys.modules])")
    assert loaded.stdout.strip() == "[]", loaded.stdout + loaded.stderr


def test_help_loads_no_server_and_no_science() -> None:
    heavy = (*SCIENCE, "fastapi", "celery", "sqlalchemy")
    program = (
        "import sys\nfrom arithmoscope.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    loaded = _run("-c", program)
    assert loaded.stdout.strip().endswith("[]"), loaded.stdout + loaded.stderr


def test_no_file_is_longer_than_400_lines() -> None:
    folders = [*PACKAGES.values(), *(ROOT / name for name in ("tests", "benchmarks", "docs"))]
    files = [file for folder in folders for file in folder.rglob("*.py")]
    page = [file for kind in ("*.ts", "*.tsx") for file in (ROOT / "frontend" / "src").rglob(kind)]
    generated = {ROOT / "frontend" / "src" / "api" / name for name in ("types.ts", "vocabulary.ts")}
    assert len(files) > 50
    too_long = {
        str(file.relative_to(ROOT)): lines
        for file in files + page
        if file not in generated and (lines := len(file.read_text(encoding="utf-8").splitlines())) > MAX_LINES
    }
    assert too_long == {}


def test_no_two_test_files_share_a_name() -> None:
    """pytest imports them by name alone: two with the same name cannot run together."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
