"""Dispatches jobs to workers: a Celery message with an experiment's id and attempt.

The API and the worker share these names and settings and never import each other. There is no result backend: the
database is the source of truth.
"""

from __future__ import annotations

from typing import Any, Final, cast

from celery import Celery  # pyright: ignore[reportMissingTypeStubs]  (Celery ships no types)
from kombu.exceptions import KombuError
from kombu.exceptions import OperationalError as BrokerError
from redis import RedisError, ResponseError

from arithmoscope.store.outbox import BrokerDown
from arithmoscope.store.redis_clients import client_url, redis_client

TASK_NAME: Final = "arithmoscope.run"
VIEW_TASK: Final = "arithmoscope.view"
QUEUE: Final = "arithmoscope"
# Redis key holding the run id of the server that received the queue: an emptied or restarted server does not match.
_RUN_ID_KEY: Final = "known-to-arithmoscope"

# Sender and worker must agree on these: they determine the names of the lists in Redis. A message that is not
# acknowledged within the visibility timeout is redelivered, so it is longer than any job and any lease.
TRANSPORT_OPTIONS: Final[dict[str, Any]] = {
    "visibility_timeout": 86_400,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    "priority_steps": list(range(10)),
    "sep": ":",
    "queue_order_strategy": "priority",
}
# Above any experiment (0 is the highest): a user is waiting for the view.
_VIEW_PRIORITY = 1
# A submission must not hang because the broker does: the outbox sends the message again.
_TIMEOUTS = {
    "socket_connect_timeout": 0.4,
    "socket_timeout": 0.8,
    "max_retries": 0,
    "retry_on_timeout": False,
}


def broker_url(redis_url: str) -> str:
    """The URL in kombu's spelling: ``redis+socket:///path`` for redis-py's (and our) ``unix:///path``."""
    return client_url(redis_url).replace("unix://", "redis+socket://", 1)


class Dispatcher:
    """Sends jobs to the workers. Safe to share between threads."""

    def __init__(self, redis_url: str) -> None:
        self._celery: Any = Celery("arithmoscope", broker=broker_url(redis_url), set_as_current=False)
        self._celery.conf.update(
            task_serializer="json",
            accept_content=["json"],
            task_ignore_result=True,
            task_default_queue=QUEUE,
            broker_transport_options={**TRANSPORT_OPTIONS, **_TIMEOUTS},
            broker_connection_timeout=0.5,
            task_publish_retry=False,
        )
        self._redis = redis_client(
            redis_url,
            socket_timeout=_TIMEOUTS["socket_timeout"],
            connect_timeout=_TIMEOUTS["socket_connect_timeout"],
            decode_responses=True,
        )

    def send(self, experiment_id: str, attempt: int, priority: int) -> None:
        """Sends one attempt; ``priority``: 0 (highest) to 9. Raises `BrokerDown` within a second on failure."""
        self._send(TASK_NAME, [experiment_id, attempt], priority)

    def request_view(self, experiment_id: str, name: str) -> None:
        """Requests a view that is not stored (`store.views`) from a worker. Raises `BrokerDown`."""
        self._send(VIEW_TASK, [experiment_id, name], _VIEW_PRIORITY)

    def is_marked(self) -> bool:
        """Returns whether the broker is in the same run as at the last `mark`. Raises `BrokerDown`.

        False if it was emptied, or restarted (possibly from an old snapshot).
        """
        try:
            return self._redis.get(_RUN_ID_KEY) == self._run_id()
        except (RedisError, OSError) as error:
            raise BrokerDown(str(error)) from error

    def mark(self) -> None:
        """Records the broker's current run, before all queued attempts are sent again. Raises `BrokerDown`."""
        try:
            self._redis.set(_RUN_ID_KEY, self._run_id())
        except (RedisError, OSError) as error:
            raise BrokerDown(str(error)) from error

    def _run_id(self) -> str:
        try:
            return str(cast(Any, self._redis).info("server").get("run_id", ""))
        except ResponseError:  # a managed service may not allow INFO: emptying is detected anyway
            return ""

    def _send(self, task: str, args: list[Any], priority: int) -> None:
        try:
            self._celery.send_task(task, args=args, priority=priority, retry=False, ignore_result=True)
        except (BrokerError, KombuError, RedisError, OSError) as error:
            raise BrokerDown(str(error)) from error

    def close(self) -> None:
        self._celery.close()
        self._redis.close()
