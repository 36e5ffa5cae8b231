"""Atomic writes: files and folders that appear complete or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from arithmoscope.contracts.errors import Refusal


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file atomically: an existing file stays until the new one is complete.

    Raises:
        Refusal: ``store_unavailable`` if the file cannot be written; nothing is left behind.
    """
    with _write_errors(path), _temporary_sibling(path) as folder:
        temporary = folder / path.name
        with temporary.open("wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, path)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to write into that is renamed to ``path`` if the block succeeds, and removed otherwise.

    Raises:
        Refusal: ``bad_request`` if ``path`` exists and is not an empty folder; ``store_unavailable`` if it cannot be
            written.
    """
    with _write_errors(path):
        taken = path.exists() and (not path.is_dir() or any(path.iterdir()))
    if taken:
        raise Refusal(
            "bad_request",
            f"{path.name} already exists and is not an empty folder.",
            "Name a folder that does not exist.",
        )
    with _write_errors(path), _temporary_sibling(path) as folder:
        inside = folder / path.name
        inside.mkdir()
        yield inside
        if path.is_dir():
            path.rmdir()
        os.replace(inside, path)


@contextmanager
def _temporary_sibling(path: Path) -> Iterator[Path]:
    """A temporary folder next to ``path``, on the same disk; removed after the block."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=path.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    """Turns write errors into a Refusal (``store_unavailable``)."""
    try:
        yield
    except (
        OSError,
        UnicodeError,
        SafetensorError,
    ) as error:  # safetensors wraps operating system errors in its own type
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Refusal("store_unavailable", f"{path.name} could not be written: {reason}.") from error
