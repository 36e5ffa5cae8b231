"""Files and folders that a command writes: checked before the computation starts, written in one step."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from arithmoscope.contracts.errors import Refusal


@contextmanager
def writable(file: str | None, flag: str) -> Iterator[Path | None]:
    """The file that ``flag`` names, checked to be writable before minutes are spent; None if no file is named.

    A file created here that is still empty at the end is removed again.

    Raises:
        Refusal: ``bad_setting`` if the file cannot be written.
    """
    if file is None:
        yield None
        return
    path = Path(file)
    is_new = not path.exists()
    try:
        path.open("ab").close()
    except OSError as error:
        detail = f"{flag} {file} cannot be written: {error.strerror}."
        raise Refusal("bad_setting", detail, "Choose another file.") from error
    try:
        yield path
    finally:  # also after Ctrl-C
        if is_new and path.is_file() and path.stat().st_size == 0:
            path.resolve().unlink()  # removes the target of a link; the link is the user's


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file (or the target of a link) in one step: the old content stays until the new one is complete."""
    from arithmoscope.engine.tuning.atomic_write import write_bytes

    target = path.resolve()
    if target.is_file() and os.access(target.parent, os.W_OK):
        write_bytes(target, data)
    else:  # a pipe, a device, or a file in a folder that takes no new files
        path.write_bytes(data)


def refuse_used_folder(folder: str | None, flag: str) -> None:
    """Raises Refusal (``bad_setting``) if the folder that ``flag`` names exists and is not empty."""
    path = Path(folder or "")
    if folder is not None and path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise Refusal("bad_setting", f"{flag} {folder} already exists.", "Name a new or empty folder.")


def writable_folder(folder: str, flag: str) -> Path:
    """The folder that ``flag`` names, created if needed. Raises Refusal (``bad_setting``) if it cannot be written."""
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / ".writable").touch()
        (path / ".writable").unlink()
    except OSError as error:
        detail = f"{flag} {folder} cannot be written: {error.strerror}."
        raise Refusal("bad_setting", detail, "Choose another folder.") from error
    return path


def metadata_file(ranking: Path | None) -> str | None:
    """The file that CSV on the Web expects next to a ranking; None if that is a pipe or a device."""
    return f"{ranking}-metadata.json" if ranking is not None and ranking.is_file() else None
