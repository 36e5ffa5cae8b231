"""Files and folders that are there whole or not at all."""

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
    """A file in one step: what was there before stays until all is written.

    Refuses (``store_unavailable``) what cannot be written, and leaves nothing behind.
    """
    with _refusing(path), _apart(path) as folder:
        written = folder / path.name
        with written.open("wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        os.replace(written, path)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to write into that becomes ``path`` when the block ends well, and is gone otherwise.

    Refuses (``bad_request``) a path where something is already, and (``store_unavailable``) what cannot be written.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise Refusal("bad_request", f"There is something at {path.name} already.", "Name a folder that is not there.")
    with _refusing(path), _apart(path) as folder:
        inside = folder / path.name
        inside.mkdir()
        yield inside
        if path.is_dir():
            path.rmdir()
        os.replace(inside, path)


@contextmanager
def _apart(path: Path) -> Iterator[Path]:
    """A folder beside a path, on the same disk; gone after the block."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=path.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:  # safetensors gives the system's errors a name of its own
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Refusal("store_unavailable", f"{path.name} could not be written: {said}.") from error
