"""Sources as in a clone, environments away from the checkout, and the transitive requirements of a distribution."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "arithmoscope" / "page"


class Environment:
    """A virtual environment without pip, away from the checkout."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        (self.site,) = (folder / "lib").glob("python3*/site-packages")

    def run(self, *command: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a program of this environment in an empty folder, or in ``cwd``."""
        away = self.folder / "away"
        away.mkdir(exist_ok=True)
        return subprocess.run(
            [str(self.bin / command[0]), *command[1:]],
            cwd=cwd or away,
            env=clean_environment() | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )


def clean_environment() -> dict[str, str]:
    """The variables of this process without any that lead to the checkout or its settings."""
    return {
        k: v for k, v in os.environ.items() if not k.startswith(("ARITHMOSCOPE_", "PYTHON", "VIRTUAL_ENV", "PYTEST"))
    }


def copy_of_sources(folder: Path) -> Path:
    """Copies the tracked files of the working tree, as a clone has them: no page, no npm packages."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def pip(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    return subprocess.run(
        command, env=clean_environment() | variables, capture_output=True, text=True, check=False, timeout=280
    )


def path_without(program: str) -> str:
    """PATH without the folders that have a program."""
    folders = os.environ["PATH"].split(os.pathsep)
    return os.pathsep.join(folder for folder in folders if not (Path(folder) / program).exists())


def needed_by(name: str, extras: tuple[str, ...]) -> list[metadata.Distribution]:
    """All distributions that a distribution with some extras needs, itself left out."""
    needed: dict[str, metadata.Distribution] = {}
    waiting: list[tuple[str, tuple[str, ...]]] = [(name, extras)]
    seen: set[tuple[str, tuple[str, ...]]] = set()
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        distribution = metadata.distribution(current[0])
        if current[0] != name:
            needed[current[0]] = distribution
        for requirement in map(Requirement, distribution.requires or ()):
            if _applies(requirement, current[1]):
                waiting.append((canonicalize_name(requirement.name), tuple(sorted(requirement.extras))))
    return list(needed.values())


def _applies(requirement: Requirement, extras: tuple[str, ...]) -> bool:
    if requirement.marker is None:
        return True
    return any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras))


def top_level_files(distribution: metadata.Distribution) -> Iterator[str]:
    """Folders and modules of a distribution in site-packages."""
    names = {file.parts[0] for file in distribution.files or () if file.parts[0] != ".."}
    yield from sorted(name for name in names if not re.search(r"\.pth$|^__pycache__$", name))
