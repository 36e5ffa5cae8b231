"""The page: static files that the frontend built, and its index for every address of the page's own."""

from __future__ import annotations

import re
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

# The addresses that the page itself knows; anything else still gets the page, which says so, but as a 404.
_KNOWN = re.compile(r"/|/analyses/?|/analyses/[^/]+/?|/compare/?|/system/?|/transfer/?|/tune/?")
_BASE = re.compile(r"<base\b[^>]*>")
_FOREVER = "public, max-age=31536000, immutable"


class Page:
    """The ASGI application behind every address that is not the API's."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder.resolve() if folder is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        response = self._answer(Request(scope))
        await response(scope, receive, send)

    def _answer(self, request: Request) -> Response:
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
        return HTMLResponse(html, 200 if _KNOWN.fullmatch(path) else 404, {"Cache-Control": "no-cache"})

    def _file(self, path: str) -> Path | None:
        """The file of the page at a path; None when there is none, or it is outside the folder."""
        if self.folder is None or path == "/" or "\0" in path:
            return None
        try:
            file = (self.folder / path.lstrip("/")).resolve()
            return file if file.is_relative_to(self.folder) and file.is_file() else None
        except OSError:  # such as a name that is longer than a file's can be
            return None


def _with_base(html: str, path: str) -> str:
    # The page's addresses are relative to where it is mounted. A relative base finds that place under any
    # path a proxy may put it, from however deep an address the page was opened at.
    up = "../" * (path.count("/") - 1)
    base = f'<base href="{up or "./"}" />'
    return html.replace("<head>", f"<head>{base}", 1) if _BASE.search(html) is None else _BASE.sub(base, html, 1)


_NOT_BUILT = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Arithmoscope</title>
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<body style="font: 1rem/1.5 system-ui; max-width: 34rem; margin: 4rem auto; padding: 0 1rem">
<h1>This installation has no page</h1>
<p>The server runs and its API answers, but the page's files are missing. In a checkout, <code>make run</code> builds
them; a wheel (<code>pip wheel .</code>) brings them along. Then load this address again.</p>
<p>The API is described <a href="api/docs">here</a>.</p></body></html>"""
