"""The competitors' own environment: it sees what the product has installed, and adds only what they need besides."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from benchmarks.competitors import ROOT, one_line

FOLDER = ROOT / ".venv-bench"
_WANTED = (ROOT / "benchmarks" / "competitors.txt", ROOT / "constraints.txt")
_STAMP = ".installed"
_LIMIT_SECONDS = 900


def python_of(folder: Path) -> Path:
    """The interpreter of a virtual environment."""
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def ready(folder: Path = FOLDER) -> str | None:
    """Install what is missing; why not, in one line, if it cannot be had.

    The product's packages are held by constraints.txt: a tool that wants another torch is not installed, rather than
    measured on another footing.
    """
    wanted = hashlib.sha256(b"".join(file.read_bytes() for file in _WANTED)).hexdigest()
    stamp = folder / _STAMP
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return None
    venv.create(folder, clear=True, with_pip=True)
    python = python_of(folder)
    # site.addsitedir and not a plain path: the product itself is installed by a .pth file there.
    beside = "\n".join(f"import site; site.addsitedir({path!r})" for path in _site_packages())
    home = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    Path(home, "product.pth").write_text(beside + "\n", encoding="utf-8")
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "-q"]
    try:
        done = subprocess.run(
            [*pip, "-c", str(_WANTED[1]), "-r", str(_WANTED[0])],
            capture_output=True,
            text=True,
            timeout=_LIMIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return one_line(str(error))
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        return one_line("\n".join(errors) or done.stderr)
    stamp.write_text(wanted, encoding="utf-8")
    return None


def _site_packages() -> list[str]:
    return sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
