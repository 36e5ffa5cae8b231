"""Who may speak to this server: known host names, the page's own origin, and the holder of the token.

- Host allow-list: a page of another site that points its own name at this machine (DNS rebinding) is refused.
- Same origin on writes: another site cannot make a visitor's browser start or delete experiments.
- Token, when one is set: a bearer header, or a cookie that the link ``/?token=...`` sets. The cookie holds a
  value derived from the token, not the token itself.
- Headers on every answer: a strict content security policy, no sniffing, no framing, no referrer.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable
from html import escape
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.problems import problem_response
from contracts.errors import Refusal

COOKIE = "arithmoscope"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; object-src 'none'; base-uri 'self'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# A probe of a load balancer has no token; the answer says nothing but ready or not.
OPEN_PATHS = frozenset({"/api/ready"})

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_READS = frozenset({"GET", "HEAD", "OPTIONS"})


class Gate:
    """Lets known hosts, this origin and the token through, and puts the headers on every answer."""

    def __init__(self, app: ASGIApp, *, host: str, allowed_hosts: Iterable[str] = (), token: str | None = None) -> None:
        self.app = app
        self.token = token
        self.hosts = _LOOPBACK_NAMES | {name.lower() for name in allowed_hosts} | {host.lower()}
        # Bound to every address, a server cannot know its names. It has a token then, and a rebound name
        # brings no cookie.
        self.any_host = token is not None and is_wildcard(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] != "websocket":
                await self.app(scope, receive, send)
            return
        answer = self._judge(scope)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await (answer or self.app)(scope, receive, with_headers)

    def _judge(self, scope: Scope) -> Response | None:
        """The answer that ends the request here, or None to let it through."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self.any_host and _host_name(host) not in self.hosts:
            said = f"This server does not answer to the name {host[:100]!r}."
            return problem_response(Refusal("forbidden", said, _KNOWN_NAMES).details())
        if scope["method"] not in _READS and not _same_origin(headers, host):
            said = "The request comes from a page of another site."
            return problem_response(Refusal("forbidden", said).details())
        return None if self.token is None else self._with_token(self.token, scope, headers)

    def _with_token(self, token: str, scope: Scope, headers: Headers) -> Response | None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path in OPEN_PATHS:
            return None
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _equal(bearer.strip(), token):
            return None
        if _equal(cookie_parser(headers.get("cookie", "")).get(COOKIE, ""), cookie_value(token)):
            return None
        is_page = scope["method"] in ("GET", "HEAD") and not path.startswith("/api/")
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = dict(query).get("token")
        if is_page and given is not None and _equal(given, token):
            return _let_in(token, scope, [(name, value) for name, value in query if name != "token"])
        details = Refusal("token_required", "This server is open to the holder of its token only.").details()
        if is_page and not path.startswith("/assets/"):
            return HTMLResponse(_TOKEN_PAGE.format(title=escape(details.title), way_out=escape(details.way_out)), 401)
        return problem_response(details, {"WWW-Authenticate": "Bearer"})


def cookie_value(token: str) -> str:
    """What the cookie holds: known to whoever knows the token, and no way back to it."""
    return hmac.new(token.encode(), b"arithmoscope cookie", hashlib.sha256).hexdigest()


def is_wildcard(host: str) -> bool:
    """Whether binding to ``host`` means every address of the machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_unspecified
    except ValueError:
        return host == ""


def _let_in(token: str, scope: Scope, query: list[tuple[str, str]]) -> Response:
    # Relative, so that it holds behind a proxy that serves this page under a path.
    page = "./" + scope["path"].rpartition("/")[2] + ("?" + urlencode(query) if query else "")
    response = RedirectResponse(page, 303, {"Cache-Control": "no-store"})
    secure = scope.get("scheme") == "https"
    root = scope.get("root_path", "") or "/"
    response.set_cookie(
        COOKIE,
        cookie_value(token),
        max_age=30 * 86_400,
        path=root,
        httponly=True,
        samesite="lax",
        secure=secure,
    )
    return response


def _equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def _host_name(host: str) -> str:
    """``"[::1]:8000"`` -> ``"::1"``; empty for what is no host."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _same_origin(headers: Headers, host: str) -> bool:
    """Whether a write was made by this page, or by no page at all (a program sends neither header)."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        # Browsers write it themselves, and it holds where a proxy rewrites the host.
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is None or origin.lower().partition("://")[2] == host.lower() != ""


_KNOWN_NAMES = (
    "Open the page from the address that arithmoscope serve printed, or add the name to ARITHMOSCOPE_ALLOWED_HOSTS."
)
_TOKEN_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Arithmoscope</title>
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<body style="font: 1rem/1.5 system-ui; max-width: 34rem; margin: 4rem auto; padding: 0 1rem">
<h1>{title}</h1><p>{way_out}</p>
<form method="get"><label>Token <input name="token" type="password" autocomplete="off" required></label>
<button>Open</button></form></body></html>"""
