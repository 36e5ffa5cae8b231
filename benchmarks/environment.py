"""The competitors' environment: it sees the product's packages and adds only what the tools need besides."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from benchmarks.competitors import ROOT, last_line

FOLDER = ROOT / ".venv-bench"
_REQUIREMENTS = (ROOT / "benchmarks" / "competitors.txt", ROOT / "constraints.txt")
_STAMP = ".installed"
_LIMIT_SECONDS = 900


def python_of(folder: Path) -> Path:
    """The interpreter of a virtual environment."""
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def install_competitors(folder: Path = FOLDER) -> str | None:
    """Installs what is missing; returns the reason in one line if that fails.

    constraints.txt pins the product's packages: a tool that needs another torch is not installed, rather than measured
    under other conditions.
    """
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in _REQUIREMENTS)).hexdigest()
    stamp = folder / _STAMP
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == digest:
        return None
    venv.create(folder, clear=True, with_pip=True, symlinks=os.name != "nt")
    python = python_of(folder)
    # site.addsitedir rather than a plain path: the product itself is installed by a .pth file there.
    site_lines = "\n".join(f"import site; site.addsitedir({path!r})" for path in _site_packages())
    home = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    Path(home, "product.pth").write_text(site_lines + "\n", encoding="utf-8")
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "-q"]
    try:
        done = subprocess.run(
            [*pip, "-c", str(_REQUIREMENTS[1]), "-r", str(_REQUIREMENTS[0])],
            capture_output=True,
            text=True,
            timeout=_LIMIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return last_line(str(error))
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        return last_line("\n".join(errors) or done.stderr)
    stamp.write_text(digest, encoding="utf-8")
    return None


def _site_packages() -> list[str]:
    return sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
