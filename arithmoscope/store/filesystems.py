"""fsspec behind a typed interface: the part of a file system that the artifacts need."""

from __future__ import annotations

from typing import Any, Protocol, cast

import fsspec.core  # pyright: ignore[reportMissingTypeStubs]  (fsspec ships no types)
from fsspec.implementations.local import LocalFileSystem  # pyright: ignore[reportMissingTypeStubs]  (as above)

# Timeouts for an unresponsive S3 service: jobs and readers wait for it.
_S3_TIMEOUTS = {"connect_timeout": 5, "read_timeout": 20, "retries": {"mode": "standard", "total_max_attempts": 2}}


class FileSystem(Protocol):
    """The methods of `fsspec.AbstractFileSystem` in use."""

    def pipe_file(self, path: str, value: bytes) -> None: ...
    def cat_file(self, path: str) -> bytes: ...
    def open(self, path: str, mode: str) -> Any: ...
    def rm(self, path: str, recursive: bool = False) -> None: ...
    def rm_file(self, path: str) -> None: ...
    def exists(self, path: str) -> bool: ...
    def info(self, path: str) -> dict[str, Any]: ...
    def find(self, path: str, *, detail: bool) -> dict[str, dict[str, Any]]: ...


def local_files() -> FileSystem:
    """The local file system."""
    return cast(FileSystem, LocalFileSystem())


def remote_files(url: str) -> tuple[FileSystem, str]:
    """The file system of an fsspec URL, and the path of the URL in it."""
    options: dict[str, Any] = {"use_listings_cache": False}
    if url.startswith("s3"):
        # A private instance: its connections are closed with the store.
        options |= {"config_kwargs": _S3_TIMEOUTS, "skip_instance_cache": True}
    files, root = cast(tuple[Any, str], cast(Any, fsspec.core).url_to_fs(url, **options))
    return files, root


def is_local(files: FileSystem) -> bool:
    return isinstance(files, LocalFileSystem)


def close_connections(files: FileSystem) -> None:
    """Closes the connections to an S3 service; does nothing for other file systems."""
    client = getattr(files, "_s3creator", None)
    if client is not None:
        service = cast(Any, files)
        service.close_session(service.loop, client)


def head_bucket(files: FileSystem, bucket: str) -> None:
    """Raises FileNotFoundError if an S3 service has no such bucket."""
    cast(Any, files).call_s3("head_bucket", Bucket=bucket)
