"""Tests of the Makefile in a checkout whose path contains a space, and with a models folder set in .env."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
DONE = (
    ".venv/.server",
    ".venv/.dev",
    "frontend/node_modules/.installed",
    "arithmoscope/page/index.html",
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with everything installed; its python is the tests' own, its command only prints its arguments."""
    folder = tmp_path / "my work" / "arithmoscope"
    commands = folder / ".venv" / "bin"
    commands.mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copytree(ROOT / "scripts", folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "constraints.txt", "openapi.json", "frontend/package-lock.json", *DONE):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    for script, text in (
        ("arithmoscope", 'echo "arithmoscope $*" >&2'),
        (
            "python",
            f'case "$*" in *-m\\ benchmarks*) echo "$ARITHMOSCOPE_MODELS_DIR";; *) exec "{sys.executable}" "$@";; esac',
        ),
    ):
        (commands / script).write_text(f"#!/bin/sh\n{text}\n")
        (commands / script).chmod(0o755)
    now = time.time()
    for file in folder.rglob("*"):  # the built files are newer than their sources
        moment = now - (5 if str(file.relative_to(folder)) in DONE else 60)
        os.utime(file, (moment, moment))
    return folder


def make(checkout: Path, target: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ARITHMOSCOPE_", "MAKE"))}
    return subprocess.run(
        ["make", "-C", str(checkout), target], capture_output=True, text=True, env=environment, check=True
    )


def test_a_checkout_in_a_folder_with_a_space_runs(checkout: Path) -> None:
    assert make(checkout, "run").stderr.splitlines() == [
        "arithmoscope models fetch smollm2-135m",
        "arithmoscope serve",
    ]


def test_the_models_folder_in_env_reaches_programs_that_read_no_settings(checkout: Path) -> None:
    (checkout / ".env").write_text('ARITHMOSCOPE_MODELS_DIR="/srv/my models"\n')
    assert "/srv/my models" in make(checkout, "bench").stdout.splitlines()


def test_the_tests_say_what_they_need_where_there_are_no_services(checkout: Path, tmp_path: Path) -> None:
    """An ordinary user on a machine without Redis."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "ls", "find", "touch", "cat"):
        (tools / name).symlink_to(str(shutil.which(name)))
    (tools / "id").write_text("#!/bin/sh\necho 1000\n")
    (tools / "id").chmod(0o755)
    program = shutil.which("make")
    assert program is not None
    ended = subprocess.run(
        [program, "-C", str(checkout), "test"], capture_output=True, text=True, env={"PATH": str(tools)}, check=False
    )
    assert ended.returncode == 2
    assert "apt-get install postgresql redis-server" in ended.stderr
    assert "ARITHMOSCOPE_TEST_REDIS_URL" in ended.stderr
    variables = {"ARITHMOSCOPE_TEST_DATABASE_URL": "postgresql://db/x", "ARITHMOSCOPE_TEST_REDIS_URL": "redis://r/0"}
    ended = subprocess.run(
        [program, "-C", str(checkout), "test"],
        capture_output=True,
        text=True,
        env={"PATH": str(tools), **variables},
        check=False,
    )
    assert "apt-get" not in ended.stderr, "the next thing that is missing is another"
