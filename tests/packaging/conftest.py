"""Fixtures: a wheel of this tree, and fresh environments with the dependencies of the given extras and nothing else.

Dependencies are not downloaded again: an environment links to the installed packages that the wheel's metadata
requires, directly or indirectly."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.packaging.environments import (
    PAGE,
    Environment,
    clean_environment,
    copy_of_sources,
    needed_by,
    path_without,
    pip,
    top_level_files,
)


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, with the page as `make` built it."""
    sources = copy_of_sources(tmp_path_factory.mktemp("sources"))
    shutil.copytree(PAGE, sources / "arithmoscope" / "page")
    out = tmp_path_factory.mktemp("sdist")
    built = subprocess.run(
        [sys.executable, "-m", "build", "--sdist", "--outdir", str(out), str(sources)],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (file,) = out.glob("*.tar.gz")
    return file


@pytest.fixture(scope="session")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, made of the source distribution on a machine without Node."""
    out = tmp_path_factory.mktemp("wheel")
    built = pip("wheel", "--no-deps", "-w", str(out), str(sdist), PATH=path_without("node"))
    assert built.returncode == 0, built.stdout + built.stderr
    (file,) = out.glob("*.whl")
    return file


@pytest.fixture(scope="session")
def environment_with(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Environment]:
    """Makes an environment with the wheel and the dependencies of extras."""

    def make(*extras: str) -> Environment:
        folder = tmp_path_factory.mktemp("environment")
        venv.create(folder, symlinks=True)
        environment = Environment(folder)
        dependencies = folder / "dependencies"
        dependencies.mkdir()
        for distribution in needed_by("arithmoscope", extras):
            for name in top_level_files(distribution):
                if not (dependencies / name).exists():
                    (dependencies / name).symlink_to(Path(str(distribution.locate_file(name))))
        before = set(environment.site.iterdir())
        (environment.site / "dependencies.pth").write_text(f"{dependencies}\n")
        installed = pip("--python", str(environment.bin / "python"), "install", "--no-deps", str(wheel))
        assert installed.returncode == 0, installed.stderr
        gained = {path.name for path in set(environment.site.iterdir()) - before}
        assert "dependencies.pth" in gained
        return environment

    return make


@pytest.fixture(scope="session")
def library(environment_with: Callable[..., Environment]) -> Environment:
    """The base installation: the library and the command line."""
    return environment_with()


@pytest.fixture(scope="session")
def server(environment_with: Callable[..., Environment]) -> Environment:
    """An installation with the extra ``server``."""
    return environment_with("server")
