"""Builds the page into the wheel and the sdist. All metadata is in pyproject.toml."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist
from setuptools.errors import ExecError

sys.path.insert(0, str(Path(__file__).parent / "scripts"))
from build_page import PageError, build_page


def _built_page() -> None:
    try:
        build_page()
    except PageError as error:
        raise ExecError(str(error)) from error


class BuildWithPage(build_py):
    """The packages and the page. An editable installation takes the page as `make` builds it, or none."""

    def run(self) -> None:
        """Build the page, then copy everything into an empty folder: setuptools keeps what an earlier build left."""
        if not self.editable_mode:
            _built_page()
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


class SourcesWithPage(sdist):
    """The sources with the page built, so that a wheel made of them needs no Node."""

    def run(self) -> None:
        """Build the page, then collect the files of MANIFEST.in."""
        _built_page()
        super().run()


setup(cmdclass={"build_py": BuildWithPage, "sdist": SourcesWithPage})
