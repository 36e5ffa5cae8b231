"""The page: the built frontend's static files, and its index for every other path outside the API."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from arithmoscope.contracts.kinds import KINDS

# Paths with their own view. Any other path also gets the index, which shows "not found", with status 404.
_FORMS = "|".join(re.escape(kind.form) for kind in KINDS.values() if kind.form)
_ROUTES = re.compile(rf"/|/analyses/?|/analyses/[^/]+/?|/(?:compare|system|{_FORMS})/?")
_BASE = re.compile(r"<base\b[^>]*>")
_FOREVER = "public, max-age=31536000, immutable"


class Page:
    """ASGI application for every path that is not part of the API.

    Args:
        folder: The built page; None if there is none.
    """

    def __init__(self, folder: Path | None) -> None:
        self._index = None if folder is None else folder / "index.html"
        self._files = StaticFiles(directory=folder, check_dir=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        response = await self._respond(scope)
        await response(scope, receive, send)

    async def _respond(self, scope: Scope) -> Response:
        root = scope.get("root_path", "")
        path = scope["path"].removeprefix(root)
        if path == "":
            return RedirectResponse(root.rpartition("/")[2] + "/", 307)
        if path == "/api" or path.startswith("/api/"):
            raise HTTPException(404)
        if scope["method"] not in ("GET", "HEAD"):
            raise HTTPException(405, headers={"Allow": "GET, HEAD"})
        with suppress(HTTPException):  # there is no such file
            response = await self._files.get_response(path.lstrip("/"), scope)
            response.headers["Cache-Control"] = _FOREVER if path.startswith("/assets/") else "no-cache"
            return response
        if "." in path.rpartition("/")[2] or path.startswith("/assets/"):
            raise HTTPException(404)
        if self._index is None or not self._index.is_file():
            return HTMLResponse(_NOT_BUILT, 503)
        html = _with_base(self._index.read_text(encoding="utf-8"), path)
        return HTMLResponse(html, 200 if _ROUTES.fullmatch(path) else 404, {"Cache-Control": "no-cache"})


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
