"""Logs: one JSON object per line, from the API, the worker, its child and the supervisor.

Fields: ``{"time", "level", "part", "pid", "logger", "message"}``, and if present ``experiment_id`` and ``exception``.
The id traces an experiment through all processes: ``grep ID DATA_DIR/log/*.log``. No user input can start a line of
its own, and no secret of a setting is ever written.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from arithmoscope.contracts import log_context as trace

MAX_FILE_BYTES = 5_000_000
HIDDEN = "***"
# Maximum length of one message or traceback, so that lines stay readable.
_MAX_CHARACTERS = 20_000
# Libraries that log too much at startup or at every step.
_VERBOSE_LOGGERS = ("alembic", "sse_starlette", "botocore", "aiobotocore", "s3fs", "fsspec", "httpx", "urllib3")
_SECRET_NAME = re.compile(r"pass|pwd|secret|token|key", re.IGNORECASE)
_IN_URL = re.compile(r"([?&](?:token|link)=)[^\s&\"'<>]+")


class JsonLines(logging.Formatter):
    """Formats records as JSON lines. ``part``: the process of the tree; a forked child is marked as such."""

    def __init__(self, part: str, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._part = part
        self._pid = os.getpid()
        # Longest first, since one may be part of another; as typed and as percent-encoded in a URL.
        spelled = {spelling for secret in secrets if secret for spelling in (secret, quote(secret, safe=""))}
        self._secrets = sorted(spelled, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        pid = os.getpid()
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "part": self._part if pid == self._pid else f"{self._part} child",
            "pid": pid,
            "logger": record.name,
            "message": self._redacted(_message(record)),
        }
        experiment_id = getattr(record, "experiment_id", None) or trace.experiment_id.get()
        if experiment_id is not None:
            line["experiment_id"] = self._redacted(str(experiment_id))
        if record.exc_info:
            line["exception"] = self._redacted(self.formatException(record.exc_info))
        # ASCII: control characters, line separators and lone surrogates are escaped.
        return json.dumps(line, ensure_ascii=True)

    def _redacted(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        text = _IN_URL.sub(rf"\1{HIDDEN}", text)
        # The end of a traceback says what happened, so the beginning is cut.
        return text if len(text) <= _MAX_CHARACTERS else f"... {text[-_MAX_CHARACTERS:]}"


def log_to_stderr(part: str, secrets: Iterable[str] = ()) -> None:
    """Writes this process's logs, warnings and uncaught exceptions to stderr from now on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(part, secrets))
    _install(handler)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda died: _uncaught(died.exc_type, died.exc_value, died.exc_traceback)


@contextmanager
def log_to_file(path: Path, part: str, secrets: Iterable[str] = ()) -> Iterator[None]:
    """Writes this process's logs to a file within the block, since the terminal is for users."""
    handler = _File(path, maxBytes=MAX_FILE_BYTES, backupCount=1, encoding="ascii", delay=True)
    handler.namer = lambda _: str(old_log(path))
    handler.setFormatter(JsonLines(part, secrets))
    _install(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()


def rotate_in_place(path: Path) -> None:
    """Moves a log that has grown too large to a second file, keeping its newest part.

    Writers continue: the file is truncated in place, so a line written at that moment may be lost. Writers must append.
    On a full disk, the old part is discarded.
    """
    try:
        if path.stat().st_size <= MAX_FILE_BYTES:
            return
    except OSError:  # not there yet
        return
    with suppress(OSError):
        try:
            _copy_end(path, old_log(path))
        except OSError:
            old_log(path).unlink(missing_ok=True)
        os.truncate(path, 0)


def _copy_end(path: Path, to: Path) -> None:
    # It may have grown to any size between two checks; the copy must not.
    with path.open("rb") as log, to.open("wb") as copy:
        log.seek(max(0, path.stat().st_size - MAX_FILE_BYTES))
        copy.write(log.read(MAX_FILE_BYTES))


def old_log(path: Path) -> Path:
    """The file of lines that no longer fit into a log: ``api.old.log``."""
    return path.with_suffix(".old.log")


def secrets_in(config: Any) -> set[str]:
    """The secrets of a configuration: its tokens, and the passwords in its URLs."""
    secrets: set[str] = set()
    for name, value in config.items():
        if name in ("token", "tokens"):
            tokens = value.split(",") if isinstance(value, str) else value or ()
            secrets.update(token.strip() for token in tokens)
        elif name.endswith("_url") and isinstance(value, str):
            secrets.update(_passwords(value))
    return secrets


def last_message(line: str) -> str:
    """The message of a log line, for the terminal; a line of another program as it is."""
    try:
        return str(json.loads(line)["message"])
    except (ValueError, TypeError, KeyError):
        return line


class _File(RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """Ignores errors: a log that cannot be written, as on a full disk, must not end the process."""


def _install(handler: logging.Handler) -> None:
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    for name in _VERBOSE_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # a library's mistake: its format string is better than nothing
        return str(record.msg)


def _uncaught(kind: type[BaseException], error: BaseException | None, trace_back: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt | SystemExit) or error is None:
        return
    logging.getLogger(__name__).critical("%s: %s", kind.__name__, error, exc_info=(kind, error, trace_back))


def _passwords(url: str) -> set[str]:
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError:
        return set()
    # Also as drivers take them: ?password=...
    in_query = [value for name, value in parse_qsl(parts.query) if _SECRET_NAME.search(name)]
    return {spelled for each in (password, *in_query) if each for spelled in (each, unquote(each))}
