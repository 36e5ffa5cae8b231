"""HTTP/1.1 over a plain socket: minimal overhead between the clock and the server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Reply:
    """A response with its whole body."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """One connection that stays open between requests."""

    def __init__(self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._host = host
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, host: str, port: int) -> Self:
        reader, writer = await asyncio.open_connection(host, port, limit=2**22)
        return cls(f"{host}:{port}", reader, writer)

    async def get(self, path: str) -> Reply:
        await self.send(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode())
        return await self.reply()

    async def post(self, path: str, body: Any) -> Reply:
        await self.send(self.post_bytes(path, body))
        return await self.reply()

    def post_bytes(self, path: str, body: Any) -> bytes:
        """The bytes of a POST request."""
        data = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def reply(self) -> Reply:
        status, headers = await self._head()
        if headers.get("transfer-encoding") == "chunked":
            return Reply(status, headers, b"".join([part async for part in self._chunks()]))
        length = int(headers.get("content-length", "0"))
        return Reply(status, headers, await self._reader.readexactly(length))

    async def stream(self, path: str) -> tuple[int, AsyncIterator[bytes]]:
        """The status, and the body's chunks as they arrive, until the server ends the response properly."""
        asking = f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\nAccept: text/event-stream\r\n\r\n"
        await self.send(asking.encode())
        status, _ = await self._head()
        return status, self._chunks()

    def close(self) -> None:
        self._writer.close()

    async def _head(self) -> tuple[int, dict[str, str]]:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {}
        for line in head[1:]:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        return int(head[0].split(" ")[1]), headers

    async def _chunks(self) -> AsyncIterator[bytes]:
        while True:
            size = int(await self._reader.readuntil(b"\r\n"), 16)
            data = await self._reader.readexactly(size + 2)
            if size == 0:
                return
            yield data[:-2]
