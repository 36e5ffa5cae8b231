"""Artifact files, named by the SHA-256 of their content, in a folder per experiment, through fsspec.

A file appears whole or not at all, and is never changed: a reader needs no lock. Experiments share no files,
so one can be deleted without asking the others.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import unquote

import fsspec.core
from fsspec.implementations.local import LocalFileSystem

from contracts.errors import Refusal


class Blobs:
    """Files under a folder's plain path, or under one fsspec url (``file:///...``, ``memory://``, ``s3://...``)."""

    def __init__(self, place: str) -> None:
        folder = _folder(place)
        if folder is None:
            self._files, self._root = fsspec.core.url_to_fs(place)
        else:
            self._files, self._root = LocalFileSystem(), folder
        self._local = isinstance(self._files, LocalFileSystem)

    def put(self, folder: str, data: bytes) -> str:
        """Writes the bytes, if they are not there yet; their SHA-256. Refuses when there is no room."""
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(folder, digest)
        with _refusing():
            if not self._local:
                self._files.pipe_file(path, data)
            elif not _holds(Path(path), data):
                _write_whole(Path(path), data)
        return digest

    def read(self, folder: str, digest: str) -> bytes:
        """The bytes as they were put. Refuses (``no_result``) when they are gone or damaged."""
        try:
            data = cast(bytes, self._files.cat_file(self._path(folder, digest)))
        except FileNotFoundError as error:
            raise _gone() from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise _gone()
        return data

    def open(self, folder: str, digest: str) -> BinaryIO:
        """The file, seekable, for a part of it."""
        try:
            return cast(BinaryIO, self._files.open(self._path(folder, digest), "rb"))
        except FileNotFoundError as error:
            raise _gone() from error

    def remove(self, folder: str) -> None:
        """The folder and all in it; nothing when it is not there."""
        with suppress(FileNotFoundError):
            self._files.rm(f"{self._root}/{folder}", recursive=True)

    def free_bytes(self) -> int | None:
        """What the disk has left; None where the files are in a service, or the folder is not there yet."""
        if not self._local:
            return None
        try:
            room = os.statvfs(self._root)
        except OSError:
            return None
        return room.f_bavail * room.f_frsize

    def _path(self, folder: str, digest: str) -> str:
        return f"{self._root}/{folder}/{digest}"


def _folder(place: str) -> str | None:
    """The path of a local folder, as it is or decoded from its url (which fsspec does not do); None for a service."""
    if place.startswith("file://"):
        return os.path.abspath(unquote(place.removeprefix("file://").removeprefix("localhost")))
    return None if "://" in place else os.path.abspath(place)


def _holds(path: Path, data: bytes) -> bool:
    return path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data


def _write_whole(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = "The disk is full." if error.errno in (errno.ENOSPC, errno.EDQUOT) else f"{error.strerror or error}."
        raise Refusal("store_unavailable", f"The artifact could not be written: {reason}") from error


def _gone() -> Refusal:
    return Refusal("no_result", "The stored file is missing or damaged.")
