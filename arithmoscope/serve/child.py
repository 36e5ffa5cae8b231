"""Entry point of a child process: ``python -m arithmoscope.serve.child api|worker|broker``.

The first line of stdin is its configuration as JSON. Stdin then stays open as a lifeline: it closes when the parent
dies in any way, and this process then ends with everything it started.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from arithmoscope.contracts.errors import Refusal
from arithmoscope.serve.logs import log_to_stderr, secrets_in
from arithmoscope.serve.wiring import run_worker
from arithmoscope.system_errors import errors_as_refusals

logger = logging.getLogger("arithmoscope.serve.child")

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Reads the configuration, watches the lifeline, runs the part."""
    part = sys.argv[1]
    lifeline = os.dup(0)
    os.set_inheritable(lifeline, False)
    config = _first_line(lifeline)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    parent = config.pop("parent")
    if part == "broker" and sys.platform == "linux":
        _exec_tied_to_parent(config["argv"], parent)
    threading.Thread(target=_die_with_parent, args=(lifeline,), name="lifeline", daemon=True).start()
    log_to_stderr(part, secrets_in(config))
    try:
        with errors_as_refusals():
            sys.exit(_PARTS[part](config))
    except Refusal as refusal:
        # The parent shows the last line of this log on its terminal.
        logger.critical("%s", refusal)
        sys.exit(2)


def _first_line(stdin: int) -> dict[str, Any]:
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(stdin, 1)
        if byte == b"":
            sys.exit(1)
        line += byte
    return json.loads(line)


def _die_with_parent(lifeline: int) -> None:
    while os.read(lifeline, 64):
        pass
    # The group is this process and what it started, such as a worker's pool, which must not outlive the tree.
    os.killpg(os.getpgid(0), signal.SIGKILL)


def _exec_tied_to_parent(argv: list[str], parent: int) -> NoReturn:
    """Replaces this process by a program that Linux kills when the parent dies."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)  # it died before prctl took effect
    os.execv(argv[0], argv)


def _broker(config: dict[str, Any]) -> None:
    import subprocess

    sys.exit(subprocess.call(config["argv"]))


def _api(config: dict[str, Any]) -> None:
    from arithmoscope_api.config import ApiConfig
    from arithmoscope_api.serve import run

    page = config.pop("page_dir")
    lists: dict[str, Any] = {name: tuple(config.pop(name)) for name in ("allowed_hosts", "tokens", "trusted_proxies")}
    listening = socket.socket(fileno=config.pop("listening"))
    run(ApiConfig(**config, **lists, page_dir=page and Path(page)), listening)


_PARTS: dict[str, Callable[[dict[str, Any]], int | None]] = {"api": _api, "worker": run_worker, "broker": _broker}

if __name__ == "__main__":
    main()
