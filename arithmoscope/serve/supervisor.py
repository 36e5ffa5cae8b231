"""``arithmoscope serve``: the page, the API, a worker and their broker as one process tree.

Nothing else need be installed or running. What dies is started again; what a dead worker held goes back to the
queue at once; and when this process ends, however it ends, so does everything it started.
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
# Together below ten seconds: a worker gives its job back, the API ends its streams, then the broker ends.
PARTS_STOP_S = 6.0
BROKER_STOPS_S = 2.0
_LOOK_EVERY_S = 0.1
# A broker that dies so often in a row cannot read what it kept.
_BROKER_GIVES_UP = 3
_API_GIVES_UP = 3


def serve(settings: Settings, say: Callable[[str], None], opened: Callable[[Callable[[], str]], None]) -> None:
    """Run until SIGTERM or Ctrl-C. ``say`` prints a line, ``opened`` gets the address once it answers.

    Each call of what it gets is an address of its own: with tokens, one that lets somebody in once.
    """
    with ExitStack() as held:
        held.enter_context(data_dir.locked(settings.data_dir))
        say = held.enter_context(_noting(settings, say))
        listening = held.enter_context(listening_on(settings.host, settings.port))
        store = held.enter_context(parts.open_store(settings))
        asked_to_stop = held.enter_context(_stop_signals())
        try:
            parts.register_models(store, settings)
            parts.import_example(store)
        except Refusal as refusal:
            say(str(refusal))
        children = _children(held, settings, store, listening)
        silence = Watchdog(store, data_dir.worker_name(settings.data_dir), children[-1])
        held.callback(_stop, children)
        held.callback(silence.stop)
        for child in children:
            child.start()
        silence.start()
        address = address_of(settings.host, listening)
        api = next(child for child in children if child.part == "api")
        if not _wait_until_ready(address + settings.root_path, api, asked_to_stop):
            return
        opened(lambda: f"{address}{settings.root_path}/{parts.login_query(settings)}")
        while not asked_to_stop.wait(_LOOK_EVERY_S):
            for child in children:
                line = child.look()
                if line is not None:
                    say(line)
            if (line := silence.kill_if_frozen()) is not None:
                say(line)


@contextmanager
def _noting(settings: Settings, say: Callable[[str], None]) -> Iterator[Callable[[str], None]]:
    """What is said to people is also a line of this process's log, beside the logs of the parts."""
    folder = settings.data_dir / "log"
    folder.mkdir(exist_ok=True)

    def said(line: str) -> None:
        logger.warning("%s", line)
        say(line)

    with log_to_file(folder / "serve.log", "serve", secrets_in(settings.model_dump())):
        logger.info("serve starts")
        yield said
        logger.info("serve ends")


def _children(held: ExitStack, settings: Settings, store: Store, listening: socket.socket) -> list[Child]:
    """The parts, in the order in which they start; the broker only if none was told."""
    folder = settings.data_dir
    logs = folder / "log"
    logs.mkdir(exist_ok=True)
    children = []
    redis_url = parts.configured_redis(settings)
    if redis_url is None:
        path = held.enter_context(broker.socket_path(folder))
        redis_url = f"unix://{path}"
        children.append(_broker(folder, path, logs))
    config = parts.api_config(settings, redis_url)
    fd = listening.fileno()
    children.append(Child("api", lambda: parts.api_config_json(config, fd), logs / "api.log", keeps=(fd,)))
    name = data_dir.worker_name(folder)
    told = parts.worker_config_json(settings, redis_url, name)

    def let_go() -> None:
        store.reap(owner=name)
        store.remove_worker(name)

    # A store that does not answer must not keep a Ctrl-C waiting.
    aside = BackgroundCall(let_go)
    children.append(Child("worker", lambda: told, logs / "worker.log", died=lambda _deaths: aside()))
    return children


def _broker(folder: Path, path: Path, logs: Path) -> Child:
    def died(deaths: int) -> None:
        if deaths == _BROKER_GIVES_UP:
            broker.set_aside(folder)

    return Child("broker", lambda: {"argv": broker.arguments(folder, path)}, logs / "broker.log", died=died)


def _stop(children: list[Child]) -> None:
    """The broker outlives the others: they still have something to say to it."""
    others = [child for child in children if child.part != "broker"]
    brokers = [child for child in children if child.part == "broker"]
    for together, seconds in ((others, PARTS_STOP_S), (brokers, BROKER_STOPS_S)):
        for child in together:
            child.ask_to_stop()
        until = time.monotonic() + seconds
        for child in together:
            child.wait(until)


def _wait_until_ready(address: str, api: Child, asked_to_stop: threading.Event) -> bool:
    """Whether the API answers; False when somebody wants an end first. Refuses when it will not."""
    until = time.monotonic() + READY_WITHIN_S
    probe = f"{address}/api/ready"
    # A proxy of the environment has nothing to do with this machine talking to itself.
    straight = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < until and api.deaths < _API_GIVES_UP:
        if asked_to_stop.wait(_LOOK_EVERY_S):
            return False
        api.look()
        with suppress(urllib.error.URLError, TimeoutError, ConnectionError), straight.open(probe, timeout=2):
            return True
    raise Refusal("internal", f"The API does not start: {api.last_log_message()}", f"Look at {api.log}.")


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM, Ctrl-C and a closed terminal set."""
    asked = threading.Event()
    signals = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup: stay when the terminal closes
        signals.append(signal.SIGHUP)
    before = {each: signal.signal(each, lambda _number, _frame: asked.set()) for each in signals}
    try:
        yield asked
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
