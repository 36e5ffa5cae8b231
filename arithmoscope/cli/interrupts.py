"""Ctrl-C in a command whose partial results are worth keeping."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_on_ctrl_c() -> Iterator[Callable[[], bool]]:
    """Yields a function that returns whether Ctrl-C was pressed.

    Inside the block the first Ctrl-C only sets this flag, so that computed results are kept; the second one ends the
    command immediately. A process that was started with SIGINT ignored (a script's background job) keeps ignoring it.
    """
    stopped = threading.Event()
    before = signal.getsignal(signal.SIGINT) or signal.default_int_handler
    in_main = threading.current_thread() is threading.main_thread()  # Python delivers signals to the main thread only
    if not in_main or before is signal.SIG_IGN:
        yield stopped.is_set
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, stop)
    try:
        yield stopped.is_set
    finally:
        signal.signal(signal.SIGINT, before)
