"""Content-addressed artifact files: named by SHA-256, in one folder per experiment, through fsspec.

A file is written atomically and never modified, so readers need no lock. Experiments share no files, so deleting
one never affects another.
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
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal
from urllib.parse import unquote

from arithmoscope.contracts.errors import Refusal
from arithmoscope.store.filesystems import close_connections, head_bucket, is_local, local_files, remote_files

# Only paths that this module writes are ever deleted: the location may hold other people's files.
_OWN_PATH = re.compile(r"(?P<folder>[0-9a-f]{24})/(chunks/)?([0-9a-f]{64}|\.[0-9a-f]{64}\.[0-9a-f]{8}\.part)")
_OWNER_FILE = "arithmoscope-owner"
_WRITE_ATTEMPTS = 100


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of an experiment: ``path`` begins with its folder; ``written_at`` is the file's modification time."""

    path: str
    size: int
    written_at: float

    @property
    def folder(self) -> str:
        return self.path.partition("/")[0]

    @property
    def digest(self) -> str:
        """The file name; for an unfinished file it is not a digest."""
        return self.path.rpartition("/")[2]


class Blobs:
    """Files under a local folder's path or an fsspec URL (``file:///...``, ``memory://``, ``s3://...``)."""

    def __init__(self, location: str) -> None:
        folder = _local_folder(location)
        if folder is None:
            self._files, root = remote_files(location)
            self._root = root.rstrip("/")
        else:
            self._files, self._root = local_files(), folder
        self._local = is_local(self._files)
        if location.startswith("s3"):
            try:
                self._check_bucket()
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Closes the connections to a service."""
        close_connections(self._files)

    def put(self, folder: str, data: bytes) -> str:
        """Writes the bytes unless they are stored; returns their SHA-256. Raises Refusal if the disk is full."""
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(folder, digest)
        with _errors_as_refusals("written"):
            if not self._local:
                self._files.pipe_file(path, data)
            elif not _touch_if_present(Path(path), data):
                _write_atomically(Path(path), data)
        return digest

    def read(self, folder: str, digest: str) -> bytes:
        """Returns the stored bytes. Raises Refusal (`no_result`) if they are missing or damaged."""
        with _errors_as_refusals("read"):
            data = self._files.cat_file(self._path(folder, digest))
        if hashlib.sha256(data).hexdigest() != digest:
            raise _missing_file()
        return data

    def open(self, folder: str, digest: str) -> BinaryIO:
        """Opens the file, seekable, for partial reads."""
        with _errors_as_refusals("read"):
            return self._files.open(self._path(folder, digest), "rb")

    def remove(self, folder: str) -> None:
        """Deletes a folder and its content; does nothing if it does not exist."""
        with _errors_as_refusals("removed"), suppress(FileNotFoundError):
            if self._local:
                shutil.rmtree(f"{self._root}/{folder}")
            else:
                self._files.rm(f"{self._root}/{folder}", recursive=True)

    def files(self) -> Iterator[StoredFile]:
        """Iterates over all files written here, unfinished ones included."""
        with _errors_as_refusals("listed"):
            yield from _local_files(Path(self._root)) if self._local else self._remote_files()

    def remove_if_older(self, path: str, than: float) -> bool:
        """Deletes a file unless it was written, or put again, after ``than`` (file modification time)."""
        with _errors_as_refusals("removed"), suppress(FileNotFoundError):
            if self._local:
                return _remove_if_older(Path(self._root) / path, than)
            if _written_at(self._files.info(f"{self._root}/{path}")) < than:
                self._files.rm_file(f"{self._root}/{path}")
                return True
        return False

    def claim_ownership(self, owner: str) -> bool:
        """Returns whether the files belong to ``owner``; the first caller becomes the owner."""
        path = f"{self._root}/{_OWNER_FILE}"
        with _errors_as_refusals("read"):
            if self._local:
                _claim(Path(path), owner.encode())
            elif not self._files.exists(path):
                self._files.pipe_file(path, owner.encode())
            return self._files.cat_file(path) == owner.encode()

    def free_bytes(self) -> int | None:
        """Free space of the disk; None if the files are in a service."""
        if not self._local:
            return None
        # The folder is created with the first file: until then, use its nearest existing parent.
        folder = Path(self._root)
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        try:
            disk = os.statvfs(folder)
        except OSError:
            return None
        return disk.f_bavail * disk.f_frsize

    def _path(self, folder: str, digest: str) -> str:
        return f"{self._root}/{folder}/{digest}"

    def _remote_files(self) -> Iterator[StoredFile]:
        with suppress(FileNotFoundError):
            for name, info in self._files.find(self._root, detail=True).items():
                path = name.removeprefix(f"{self._root}/")
                if _OWN_PATH.fullmatch(path):
                    yield StoredFile(path, info["size"], _written_at(info))

    def _check_bucket(self) -> None:
        bucket = self._root.partition("/")[0]
        try:
            with _errors_as_refusals("read"):
                head_bucket(self._files, bucket)
        except Refusal as refusal:
            if refusal.code != "no_result":
                raise
            way_out = "Create it, or name another one in ARITHMOSCOPE_ARTIFACTS_URL."
            raise Refusal("bad_setting", f"There is no bucket {bucket!r}.", way_out) from refusal


def _local_folder(location: str) -> str | None:
    """The absolute path of a local folder, decoded from its URL (fsspec does not decode); None for a service."""
    if location.startswith("file://"):
        return os.path.abspath(unquote(location.removeprefix("file://").removeprefix("localhost")))
    return None if "://" in location else os.path.abspath(location)


def _touch_if_present(path: Path, data: bytes) -> bool:
    """Returns whether the file exists with this content; if so, refreshes its time to protect it from collection."""
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
def _locked(folder: Path, mode: int) -> Generator[None]:
    with _opened(folder) as descriptor:
        fcntl.flock(descriptor, mode)
        yield


@contextmanager
def _opened(folder: Path) -> Generator[int]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _local_files(root: Path) -> Iterator[StoredFile]:
    for folder in _entries(root):
        for subfolder in (folder, f"{folder}/chunks"):
            for name in _entries(root / subfolder):
                path = f"{subfolder}/{name}"
                # Another process may delete the file in this moment.
                with suppress(FileNotFoundError):
                    if _OWN_PATH.fullmatch(path):
                        info = (root / path).stat()
                        yield StoredFile(path, info.st_size, info.st_mtime)


def _entries(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _written_at(info: dict[str, Any]) -> float:
    """Modification time: ``LastModified`` in S3, ``created`` in memory."""
    moment = info.get("LastModified") or info["created"]
    return moment.timestamp() if isinstance(moment, datetime) else float(moment)


def _claim(path: Path, owner: bytes) -> None:
    """Writes the owner if there is none. An empty file has no owner: its writer found the disk full."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file() and path.stat().st_size:
        return
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not os.fstat(file.fileno()).st_size:
            file.write(owner)


def _write_atomically(path: Path, data: bytes) -> None:
    for _ in range(_WRITE_ATTEMPTS):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return _write_and_rename(path, data)
        except (FileNotFoundError, FileExistsError):  # garbage collection removed the folder while it was empty
            if path.parent.exists() and not path.parent.is_dir():
                raise
    raise OSError(errno.ENOENT, "its folder cannot be created")


def _write_and_rename(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        # The database refers to the file from now on: it must survive a power cut.
        with _opened(path.parent) as folder:
            os.fsync(folder)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def _errors_as_refusals(action: Literal["read", "written", "removed", "listed"]) -> Generator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError) and action == "read":
            raise _missing_file() from error
        reason = "The disk is full." if error.errno in (errno.ENOSPC, errno.EDQUOT) else f"{error.strerror or error}."
        raise Refusal("store_unavailable", f"The artifact could not be {action}: {reason}") from error
    except _service_errors() as error:
        name, way_out = type(error).__name__, "Check the artifact store, then try again."
        if name == "NoCredentialsError":
            way_out = (
                "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; AWS_ENDPOINT_URL for a service other than Amazon's."
            )
        detail = f"The artifact could not be {action}: the artifact store failed ({name})."
        raise Refusal("store_unavailable", detail, way_out) from error


def _service_errors() -> tuple[type[Exception], ...]:
    """Exception types of the S3 client; empty if it is not in use."""
    client = sys.modules.get("botocore.exceptions")
    return () if client is None else (client.BotoCoreError, client.ClientError)


def _missing_file() -> Refusal:
    return Refusal("no_result", "The stored file is missing or damaged.")
