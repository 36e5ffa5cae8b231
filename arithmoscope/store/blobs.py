"""Artifact files, named by the SHA-256 of their content, in a folder per experiment, through fsspec.

A file appears whole or not at all, and is never changed: a reader needs no lock. Experiments share no files,
so one can be deleted without asking the others.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import unquote

import fsspec.core
from fsspec.implementations.local import LocalFileSystem

from arithmoscope.contracts.errors import Refusal

# Only what we make is ever thrown away: the place may hold other people's files.
_OURS = re.compile(r"(?P<folder>[0-9a-f]{24})/(chunks/)?([0-9a-f]{64}|\.[0-9a-f]{64}\.[0-9a-f]{8}\.part)")
_OWNER = "arithmoscope-owner"
_AGAIN = 100
# Of a service that does not answer: a job waits for it, and so does a reader.
_S3_PATIENCE = {"connect_timeout": 5, "read_timeout": 20, "retries": {"mode": "standard", "total_max_attempts": 2}}


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of an experiment: ``path`` begins with its folder; ``written_at`` is the file's own time."""

    path: str
    size: int
    written_at: float

    @property
    def folder(self) -> str:
        return self.path.partition("/")[0]

    @property
    def digest(self) -> str:
        """The name; of a file that was never finished it is no digest."""
        return self.path.rpartition("/")[2]


class Blobs:
    """Files under a folder's plain path, or under one fsspec url (``file:///...``, ``memory://``, ``s3://...``)."""

    def __init__(self, place: str) -> None:
        folder = _folder(place)
        if folder is None:
            options: dict[str, Any] = {"use_listings_cache": False}
            if place.startswith("s3"):
                # Not shared with others in this process: what it connects to is closed with this.
                options |= {"config_kwargs": _S3_PATIENCE, "skip_instance_cache": True}
            self._files, root = fsspec.core.url_to_fs(place, **options)
            self._root = root.rstrip("/")
        else:
            self._files, self._root = LocalFileSystem(), folder
        self._local = isinstance(self._files, LocalFileSystem)
        if place.startswith("s3"):
            try:
                self._refuse_missing_bucket()
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Ends the connections to a service."""
        client = getattr(self._files, "_s3creator", None)
        if client is not None:
            service = cast(Any, self._files)
            service.close_session(service.loop, client)

    def put(self, folder: str, data: bytes) -> str:
        """Writes the bytes, if they are not there yet; their SHA-256. Refuses when there is no room."""
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(folder, digest)
        with _refusing("written"):
            if not self._local:
                self._files.pipe_file(path, data)
            elif not _holds_now(Path(path), data):
                _write_whole(Path(path), data)
        return digest

    def read(self, folder: str, digest: str) -> bytes:
        """The bytes as they were put. Refuses (``no_result``) when they are gone or damaged."""
        with _refusing("read"):
            data = cast(bytes, self._files.cat_file(self._path(folder, digest)))
        if hashlib.sha256(data).hexdigest() != digest:
            raise _gone()
        return data

    def open(self, folder: str, digest: str) -> BinaryIO:
        """The file, seekable, for a part of it."""
        with _refusing("read"):
            return cast(BinaryIO, self._files.open(self._path(folder, digest), "rb"))

    def remove(self, folder: str) -> None:
        """The folder and all in it; nothing when it is not there."""
        with _refusing("removed"), suppress(FileNotFoundError):
            if self._local:
                shutil.rmtree(f"{self._root}/{folder}")
            else:
                self._files.rm(f"{self._root}/{folder}", recursive=True)

    def files(self) -> Iterator[StoredFile]:
        """All that we have written here, and what was never finished."""
        with _refusing("listed"):
            yield from _local_files(Path(self._root)) if self._local else self._remote_files()

    def remove_if_older(self, path: str, than: float) -> bool:
        """Removes a file unless it was written, or put once more, after ``than`` (the files' own time)."""
        with _refusing("removed"), suppress(FileNotFoundError):
            if self._local:
                return _remove_if_older(Path(self._root) / path, than)
            if _written_at(self._files.info(f"{self._root}/{path}")) < than:
                self._files.rm_file(f"{self._root}/{path}")
                return True
        return False

    def belong_to(self, owner: str) -> bool:
        """Whether these files are ``owner``'s: whoever asks first has them."""
        path = f"{self._root}/{_OWNER}"
        with _refusing("read"):
            if self._local:
                _claim(Path(path), owner.encode())
            elif not self._files.exists(path):
                self._files.pipe_file(path, owner.encode())
            return self._files.cat_file(path) == owner.encode()

    def free_bytes(self) -> int | None:
        """What the disk has left; None where the files are in a service."""
        if not self._local:
            return None
        # The folder is made with the first file: until then it is the disk of the one that it will be in.
        place = Path(self._root)
        while not place.exists() and place != place.parent:
            place = place.parent
        try:
            room = os.statvfs(place)
        except OSError:
            return None
        return room.f_bavail * room.f_frsize

    def _path(self, folder: str, digest: str) -> str:
        return f"{self._root}/{folder}/{digest}"

    def _remote_files(self) -> Iterator[StoredFile]:
        with suppress(FileNotFoundError):
            found = cast(dict[str, dict[str, Any]], self._files.find(self._root, detail=True))
            for name, info in found.items():
                path = name.removeprefix(f"{self._root}/")
                if _OURS.fullmatch(path):
                    yield StoredFile(path, info["size"], _written_at(info))

    def _refuse_missing_bucket(self) -> None:
        bucket = self._root.partition("/")[0]
        try:
            with _refusing("read"):
                cast(Any, self._files).call_s3("head_bucket", Bucket=bucket)
        except Refusal as refusal:
            if refusal.code != "no_result":
                raise
            way_out = "Make it, or name another in the artifacts' URL."
            raise Refusal("bad_setting", f"There is no bucket {bucket!r}.", way_out) from refusal


def _folder(place: str) -> str | None:
    """The path of a local folder, as it is or decoded from its url (which fsspec does not do); None for a service."""
    if place.startswith("file://"):
        return os.path.abspath(unquote(place.removeprefix("file://").removeprefix("localhost")))
    return None if "://" in place else os.path.abspath(place)


def _holds_now(path: Path, data: bytes) -> bool:
    """Whether it is there already; it counts as written now, so that nobody throws it away before it is named."""
    try:
        with _locked(path.parent, fcntl.LOCK_SH):
            if path.stat().st_size != len(data) or path.read_bytes() != data:
                return False
            os.utime(path)
            return True
    except FileNotFoundError:
        return False


def _remove_if_older(path: Path, than: float) -> bool:
    with _locked(path.parent, fcntl.LOCK_EX):
        if path.stat().st_mtime >= than:
            return False
        path.unlink()
    with suppress(OSError):  # not empty
        path.parent.rmdir()
        path.parent.parent.rmdir()
    return True


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    with _opened(folder) as descriptor:
        fcntl.flock(descriptor, how)
        yield


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _local_files(root: Path) -> Iterator[StoredFile]:
    for folder in _entries(root):
        for place in (folder, f"{folder}/chunks"):
            for name in _entries(root / place):
                path = f"{place}/{name}"
                # What another process throws away in this moment is not there.
                with suppress(FileNotFoundError):
                    if _OURS.fullmatch(path):
                        facts = (root / path).stat()
                        yield StoredFile(path, facts.st_size, facts.st_mtime)


def _entries(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _written_at(info: dict[str, Any]) -> float:
    """S3 calls it LastModified, memory created."""
    moment = info.get("LastModified") or info["created"]
    return moment.timestamp() if isinstance(moment, datetime) else float(moment)


def _claim(path: Path, owner: bytes) -> None:
    """Whoever comes first. An empty one is nobody's: its writer found no room."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file() and path.stat().st_size:
        return
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not os.fstat(file.fileno()).st_size:
            file.write(owner)


def _write_whole(path: Path, data: bytes) -> None:
    for _ in range(_AGAIN):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return _write_beside(path, data)
        except (FileNotFoundError, FileExistsError):  # its folder was empty for a moment, and thrown away
            if path.parent.exists() and not path.parent.is_dir():
                raise
    raise OSError(errno.ENOENT, "its folder cannot be made")


def _write_beside(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        # The database names it from now on: after a power cut, too, it must be there.
        with _opened(path.parent) as folder:
            os.fsync(folder)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def _refusing(done: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError) and done == "read":
            raise _gone() from error
        reason = "The disk is full." if error.errno in (errno.ENOSPC, errno.EDQUOT) else f"{error.strerror or error}."
        raise Refusal("store_unavailable", f"The artifact could not be {done}: {reason}") from error
    except _service_errors() as error:
        name, way_out = type(error).__name__, "Look after the artifact store, then try again."
        if name == "NoCredentialsError":
            way_out = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_ENDPOINT_URL for a store of your own."
        said = f"The artifact could not be {done}: the store of artifacts fails ({name})."
        raise Refusal("store_unavailable", said, way_out) from error


def _service_errors() -> tuple[type[Exception], ...]:
    """What the client of S3 raises, where it is in use."""
    client = sys.modules.get("botocore.exceptions")
    return () if client is None else (client.BotoCoreError, client.ClientError)


def _gone() -> Refusal:
    return Refusal("no_result", "The stored file is missing or damaged.")
