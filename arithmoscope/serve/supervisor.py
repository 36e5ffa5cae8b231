"""The supervisor of ``arithmoscope serve``: page, API, worker and broker as one process tree.

Nothing else needs to be installed or running. A dead process is restarted; the jobs of a dead worker are requeued at
once; and when this process ends in any way, so does everything it started.
"""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from arithmoscope.contracts.errors import Refusal
from arithmoscope.serve import broker, data_dir
from arithmoscope.serve import wiring as parts
from arithmoscope.serve.logs import log_to_file, secrets_in
from arithmoscope.serve.processes import Child
from arithmoscope.serve.sockets import address_of, listening_on
from arithmoscope.serve.watchdog import BackgroundCall, Watchdog
from arithmoscope.settings import Settings
from arithmoscope.store import Store

logger = logging.getLogger(__name__)

READY_WITHIN_S = 60.0
# Together below ten seconds: the worker releases its job, the API ends its streams, then the broker ends.
STOP_TIMEOUT_S = 6.0
BROKER_STOP_TIMEOUT_S = 2.0
_POLL_EVERY_S = 0.1
# After this many deaths in a row, the broker's stored queue counts as unreadable.
_BROKER_MAX_DEATHS = 3
_API_MAX_DEATHS = 3


def serve(settings: Settings, say: Callable[[str], None], on_ready: Callable[[Callable[[], str]], None]) -> None:
    """Runs until SIGTERM or Ctrl-C. ``say`` prints a line; ``on_ready`` is called once the API answers.

    ``on_ready`` gets a function that returns the page's URL; with tokens, each call makes a new single-use login link.
    """
    with ExitStack() as stack:
        stack.enter_context(data_dir.locked(settings.data_dir))
        say = stack.enter_context(_logged(settings, say))
        listening = stack.enter_context(listening_on(settings.host, settings.port))
        store = stack.enter_context(parts.open_store(settings))
        stop_requested = stack.enter_context(_stop_signals())
        try:
            parts.register_models(store, settings)
            parts.import_example(store)
        except Refusal as refusal:
            say(str(refusal))
        children = _children(stack, settings, store, listening)
        watchdog = Watchdog(store, data_dir.worker_name(settings.data_dir), children[-1])
        stack.callback(_stop, children)
        stack.callback(watchdog.stop)
        for child in children:
            child.start()
        watchdog.start()
        address = address_of(settings.host, listening)
        api = next(child for child in children if child.part == "api")
        if not _wait_until_ready(address + settings.root_path, api, stop_requested):
            return
        on_ready(lambda: f"{address}{settings.root_path}/{parts.login_query(settings)}")
        while not stop_requested.wait(_POLL_EVERY_S):
            for child in children:
                line = child.poll()
                if line is not None:
                    say(line)
            if (line := watchdog.kill_if_frozen()) is not None:
                say(line)


@contextmanager
def _logged(settings: Settings, say: Callable[[str], None]) -> Iterator[Callable[[str], None]]:
    """Also writes the lines for the terminal to this process's own log, next to the logs of the parts."""
    folder = settings.data_dir / "log"
    folder.mkdir(exist_ok=True)

    def log_and_say(line: str) -> None:
        logger.warning("%s", line)
        say(line)

    with log_to_file(folder / "serve.log", "serve", secrets_in(settings.model_dump())):
        logger.info("serve starts")
        yield log_and_say
        logger.info("serve ends")


def _children(stack: ExitStack, settings: Settings, store: Store, listening: socket.socket) -> list[Child]:
    """The child processes in start order; the broker only if no Redis is configured."""
    folder = settings.data_dir
    logs = folder / "log"
    logs.mkdir(exist_ok=True)
    children: list[Child] = []
    redis_url = parts.configured_redis(settings)
    if redis_url is None:
        path = stack.enter_context(broker.socket_path(folder))
        redis_url = f"unix://{path}"
        children.append(_broker(folder, path, logs))
    config = parts.api_config(settings, redis_url)
    fd = listening.fileno()
    children.append(Child("api", lambda: parts.api_config_json(config, fd), logs / "api.log", pass_fds=(fd,)))
    name = data_dir.worker_name(folder)
    worker_config = parts.worker_config_json(settings, redis_url, name)

    def release_worker() -> None:
        store.reap(owner=name)
        store.remove_worker(name)

    # An unresponsive store must not delay Ctrl-C.
    release_in_background = BackgroundCall(release_worker)
    children.append(
        Child("worker", lambda: worker_config, logs / "worker.log", on_death=lambda _deaths: release_in_background())
    )
    return children


def _broker(folder: Path, path: Path, logs: Path) -> Child:
    def on_death(deaths: int) -> None:
        if deaths == _BROKER_MAX_DEATHS:
            broker.set_aside(folder)

    return Child("broker", lambda: {"argv": broker.arguments(folder, path)}, logs / "broker.log", on_death=on_death)


def _stop(children: list[Child]) -> None:
    """Stops the broker last: the others still send messages to it."""
    others = [child for child in children if child.part != "broker"]
    brokers = [child for child in children if child.part == "broker"]
    for group, seconds in ((others, STOP_TIMEOUT_S), (brokers, BROKER_STOP_TIMEOUT_S)):
        for child in group:
            child.terminate()
        until = time.monotonic() + seconds
        for child in group:
            child.wait(until)


def _wait_until_ready(address: str, api: Child, stop_requested: threading.Event) -> bool:
    """Waits for the API; returns False if a stop is requested first. Raises Refusal if the API does not start."""
    until = time.monotonic() + READY_WITHIN_S
    probe = f"{address}/api/ready"
    # Without the environment's proxy, which must not be used for requests to this machine itself.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < until and api.deaths < _API_MAX_DEATHS:
        if stop_requested.wait(_POLL_EVERY_S):
            return False
        api.poll()
        with suppress(urllib.error.URLError, TimeoutError, ConnectionError), opener.open(probe, timeout=2):
            return True
    raise Refusal("internal", f"The API does not start: {api.last_log_message()}", f"Look at {api.log}.")


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM, Ctrl-C and a closed terminal set."""
    stop_requested = threading.Event()
    signals = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # under nohup, ignore a closed terminal
        signals.append(signal.SIGHUP)
    before = {each: signal.signal(each, lambda _number, _frame: stop_requested.set()) for each in signals}
    try:
        yield stop_requested
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
