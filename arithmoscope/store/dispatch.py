"""How an experiment's turn gets to a worker: a Celery message with its id and attempt, nothing else.

The API and the worker share these names and settings, and never import each other. There is no result
backend: the database is the truth.
"""

from __future__ import annotations

from typing import Any, Final, cast

from celery import Celery
from kombu.exceptions import KombuError
from kombu.exceptions import OperationalError as BrokerError
from redis import Redis, RedisError, ResponseError
from redis.backoff import NoBackoff
from redis.retry import Retry

from arithmoscope.store.events import client_url
from arithmoscope.store.outbox import BrokerDown

TASK_NAME: Final = "arithmoscope.run"
VIEW_TASK: Final = "arithmoscope.view"
QUEUE: Final = "arithmoscope"
# Holds the run of the server that was given what is queued: a server that was emptied or started again lacks it.
_MARK: Final = "known-to-arithmoscope"

# Sender and worker must agree on these: they are part of the names of the lists in Redis. A message that is
# not acknowledged within the visibility timeout is given out again: hence longer than any job, and the lease.
TRANSPORT_OPTIONS: Final[dict[str, Any]] = {
    "visibility_timeout": 86_400,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    "priority_steps": list(range(10)),
    "sep": ":",
    "queue_order_strategy": "priority",
}
# Before any experiment (0 is the highest): somebody sits and waits for what they want to see.
_SOON = 1
# A submit must not hang because the broker does: the outbox sends again.
_PATIENCE = {
    "socket_connect_timeout": 0.4,
    "socket_timeout": 0.8,
    "max_retries": 0,
    "retry_on_timeout": False,
}


def broker_url(redis_url: str) -> str:
    """The url as kombu writes it: ``redis+socket:///path`` where redis-py (and our settings) say ``unix:///path``."""
    return client_url(redis_url).replace("unix://", "redis+socket://", 1)


class Dispatcher:
    """Sends turns to the workers. Threads may share one."""

    def __init__(self, redis_url: str) -> None:
        self._celery = Celery("arithmoscope", broker=broker_url(redis_url), set_as_current=False)
        self._celery.conf.update(
            task_serializer="json",
            accept_content=["json"],
            task_ignore_result=True,
            task_default_queue=QUEUE,
            broker_transport_options={**TRANSPORT_OPTIONS, **_PATIENCE},
            broker_connection_timeout=0.5,
            task_publish_retry=False,
        )
        self._redis = Redis.from_url(
            client_url(redis_url),
            socket_timeout=_PATIENCE["socket_timeout"],
            socket_connect_timeout=_PATIENCE["socket_connect_timeout"],
            retry=Retry(NoBackoff(), 1),
            decode_responses=True,
        )

    def send(self, experiment_id: str, attempt: int, priority: int) -> None:
        """``priority``: 0 (the highest) to 9. Raises `BrokerDown`, within a second, when it is not taken."""
        self._send(TASK_NAME, [experiment_id, attempt], priority)

    def ask_view(self, experiment_id: str, name: str) -> None:
        """Asks a worker for what somebody wants to see and is not stored (`store.views`). Raises `BrokerDown`."""
        self._send(VIEW_TASK, [experiment_id, name], _SOON)

    def remembers(self) -> bool:
        """Whether the broker is as it was when `mark` was called. Raises `BrokerDown`.

        Not when it was emptied; nor when it was started again, perhaps with what it had a while ago.
        """
        try:
            return self._redis.get(_MARK) == self._run()
        except (RedisError, OSError) as error:
            raise BrokerDown(str(error)) from error

    def mark(self) -> None:
        """What waits is about to be sent again. Raises `BrokerDown`."""
        try:
            self._redis.set(_MARK, self._run())
        except (RedisError, OSError) as error:
            raise BrokerDown(str(error)) from error

    def _run(self) -> str:
        try:
            return str(cast(dict[str, Any], self._redis.info("server")).get("run_id", ""))
        except ResponseError:  # a service that tells nobody: that it was emptied is noticed all the same
            return ""

    def _send(self, task: str, args: list[Any], priority: int) -> None:
        try:
            self._celery.send_task(task, args=args, priority=priority, retry=False, ignore_result=True)
        except (BrokerError, KombuError, RedisError, OSError) as error:
            raise BrokerDown(str(error)) from error

    def close(self) -> None:
        self._celery.close()
        self._redis.close()
