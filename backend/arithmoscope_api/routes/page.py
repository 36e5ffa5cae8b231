"""The page: the built frontend's static files, and its index for every other path outside the API."""

from __future__ import annotations

import re
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

# Paths with their own view. Any other path also gets the index, which shows "not found", with status 404.
_ROUTES = re.compile(r"/|/analyses/?|/analyses/[^/]+/?|/compare/?|/system/?|/transfer/?|/tune/?")
_BASE = re.compile(r"<base\b[^>]*>")
_FOREVER = "public, max-age=31536000, immutable"


class Page:
    """ASGI application for every path that is not part of the API.

    Args:
        folder: The built page; None if there is none.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder.resolve() if folder is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        response = self._respond(Request(scope))
        await response(scope, receive, send)

    def _respond(self, request: Request) -> Response:
        root = request.scope.get("root_path", "")
        path = request.scope["path"].removeprefix(root)
        if path == "":
            return RedirectResponse(root.rpartition("/")[2] + "/", 307)
        if path == "/api" or path.startswith("/api/"):
            raise HTTPException(404)
        if request.method not in ("GET", "HEAD"):
            raise HTTPException(405, headers={"Allow": "GET, HEAD"})
        file = self._file(path)
        if file is not None:
            return FileResponse(
                file, headers={"Cache-Control": _FOREVER if path.startswith("/assets/") else "no-cache"}
            )
        if "." in path.rpartition("/")[2] or path.startswith("/assets/"):
            raise HTTPException(404)
        index = self._file("/index.html")
        if index is None:
            return HTMLResponse(_NOT_BUILT, 503)
        html = _with_base(index.read_text(encoding="utf-8"), path)
        return HTMLResponse(html, 200 if _ROUTES.fullmatch(path) else 404, {"Cache-Control": "no-cache"})

    def _file(self, path: str) -> Path | None:
        """The file of the page at a path; None if it does not exist or is outside the folder."""
        if self.folder is None or path == "/" or "\0" in path:
            return None
        try:
            file = (self.folder / path.lstrip("/")).resolve()
            return file if file.is_relative_to(self.folder) and file.is_file() else None
        except OSError:  # such as a name that is too long for a file
            return None


def _with_base(html: str, path: str) -> str:
    # The page's links are relative to where it is mounted. A relative base leads there under every path that a proxy
    # may add, however deep the path at which the page was opened.
    up = "../" * (path.count("/") - 1)
    base = f'<base href="{up or "./"}" />'
    return html.replace("<head>", f"<head>{base}", 1) if _BASE.search(html) is None else _BASE.sub(base, html, 1)


_NOT_BUILT = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Arithmoscope</title>
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<body style="font: 1rem/1.5 system-ui; max-width: 34rem; margin: 4rem auto; padding: 0 1rem">
<h1>This installation has no page</h1>
<p>The server and its API are running, but the page's files are missing. In a checkout, <code>make run</code> builds
them; a wheel (<code>pip wheel .</code>) includes them. Then reload this page.</p>
<p><a href="api/docs">API documentation</a></p></body></html>"""
