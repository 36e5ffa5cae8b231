"""Prints the requirements of the API's image: those of pyproject.toml without the science, and some extras.

pip install -c constraints.txt $(python scripts/requirements.py server distributed)
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def requirements(extras: list[str]) -> list[str]:
    """One requirement each, environment markers left out: the image is a Linux one."""
    pyproject = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))
    project, science = pyproject["project"], set(pyproject["tool"]["arithmoscope"]["science"])
    listed = [line for line in project["dependencies"] if _name(line) not in science]
    for extra in extras:
        listed += project["optional-dependencies"][extra]
    own = project["name"]
    return [line.partition(";")[0].strip() for line in dict.fromkeys(listed) if _name(line) != own]


def _name(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]


if __name__ == "__main__":
    sys.stdout.write("\n".join(requirements(sys.argv[1:])) + "\n")
