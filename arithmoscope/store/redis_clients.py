"""Redis clients with timeouts, created from the setting ``redis_url``."""

from __future__ import annotations

from urllib.parse import quote

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry


def client_url(redis_url: str) -> str:
    """The ``redis_url`` for client libraries, which percent-decode it; in the setting a socket's path is literal.

    A query (``?db=1``) without ``/`` may follow the path.
    """
    scheme, _, address = redis_url.partition("://")
    if scheme != "unix" or not address.startswith("/"):
        return redis_url
    path, mark, query = address.rpartition("?")
    if not mark or "/" in query:
        path, query = address, ""
    return f"unix://{quote(path)}" + (f"?{query}" if query else "")


def redis_client(
    redis_url: str, *, socket_timeout: float, connect_timeout: float, decode_responses: bool = False
) -> redis.Redis:
    """A client for threads, which retries a broken connection once."""
    return redis.Redis.from_url(  # pyright: ignore[reportUnknownMemberType]  (redis-py leaves **kwargs untyped)
        client_url(redis_url),
        socket_timeout=socket_timeout,
        socket_connect_timeout=connect_timeout,
        retry=Retry(NoBackoff(), 1),
        decode_responses=decode_responses,
    )


def async_redis_client(redis_url: str, *, connect_timeout: float) -> redis.asyncio.Redis:
    """A client for an event loop. No socket timeout: the server ends a blocking read, not the client."""
    return redis.asyncio.Redis.from_url(  # pyright: ignore[reportUnknownMemberType]  (redis-py leaves **kwargs untyped)
        client_url(redis_url), socket_timeout=None, socket_connect_timeout=connect_timeout
    )
