"""Root path: serving under a path such as ``/arithmoscope`` behind a proxy, whether or not the proxy strips it."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send


class RootPath:
    """Middleware that sets ``root_path`` (no trailing slash) and makes ``path`` include it."""

    def __init__(self, app: ASGIApp, root_path: str = "") -> None:
        self.app = app
        self.root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.root_path and scope["type"] == "http":
            path = scope["path"]
            stripped = path != self.root_path and not path.startswith(self.root_path + "/")
            # ASGI expects the full path in `path`, including the mount point.
            scope = {
                **scope,
                "root_path": self.root_path,
                "path": self.root_path + path if stripped else path,
            }
        await self.app(scope, receive, send)
