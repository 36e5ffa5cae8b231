"""Serving under a path, such as ``/arithmoscope``, behind a proxy, whether it strips the path or not."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send


class UnderPath:
    """Tells the application where it is mounted (``root_path``, without a slash at its end)."""

    def __init__(self, app: ASGIApp, root_path: str = "") -> None:
        self.app = app
        self.root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.root_path and scope["type"] == "http":
            path = scope["path"]
            stripped = path != self.root_path and not path.startswith(self.root_path + "/")
            # ASGI wants the whole path in `path`, the mount's part included.
            scope = {
                **scope,
                "root_path": self.root_path,
                "path": self.root_path + path if stripped else path,
            }
        await self.app(scope, receive, send)
