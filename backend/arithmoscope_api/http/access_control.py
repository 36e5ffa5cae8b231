"""Access control: allowed host names, same-origin writes, tokens; and security headers on every response.

- Host allow-list: a request whose Host is another site's name, pointed at this machine, is rejected (DNS rebinding).
- Same origin on writes: another site cannot make a visitor's browser start or delete experiments.
- Tokens, if configured: a bearer header, or a cookie that is set by the links ``/?link=...`` (single use) and
  ``/?token=...`` and by the form of the login page. The cookie holds a value derived from the token and a secret of
  the store, not the token itself. Failed logins are throttled by address.
- Headers on every response: a strict content security policy, no sniffing, no framing, no referrer.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import re
import time
from collections.abc import Callable, Iterable, Sequence
from html import escape
from urllib.parse import parse_qsl, urlencode

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from arithmoscope.contracts.errors import Refusal
from arithmoscope_api.http.credentials import LoginThrottle, Tokens, address_of, link_digest
from arithmoscope_api.http.problems import problem_response

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
# The request line and all headers together.
MAX_HEAD_BYTES = 32 * 1024
# Load balancers probe these without a token; the response says only whether the server is alive or ready.
OPEN_PATHS = frozenset({"/api/ready", "/api/live"})

# Of the login form, which holds one token.
_MAX_FORM_BYTES = 8 * 1024
_FORM_WITHIN_S = 10.0
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::[0-9]{0,5})?")


class AccessControl:
    """Middleware that admits allowed hosts, this origin and token holders, and adds the security headers.

    The short name of the client's token is put into ``scope["state"]["asked_by"]``; it is ``""`` without tokens.

    Args:
        app: The application behind it.
        host: The address that is bound; its name is allowed.
        allowed_hosts: More host names under which the server may be reached.
        tokens: The accepted tokens; none: no token is required.
        secret: Key of the cookies, in addition to the token; known only to the store.
        use_link: Stores the digest of a login link and returns whether this is its first use; may wait for a database.
        throttle: Counts failed logins.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str,
        allowed_hosts: Iterable[str] = (),
        tokens: Sequence[str] = (),
        secret: str = "",
        use_link: Callable[[str], bool] = lambda _: False,
        throttle: LoginThrottle | None = None,
    ) -> None:
        self.app = app
        self.tokens = Tokens(tokens, secret) if tokens else None
        self.use_link = use_link
        self.throttle = throttle or LoginThrottle()
        self.hosts = _LOOPBACK_NAMES | {name.lower() for name in allowed_hosts} | {host.lower()}
        # A server bound to every address cannot know its names. It has a token then, and a rebound name sends no
        # cookie.
        self.any_host = bool(tokens) and is_wildcard(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] != "websocket":
                await self.app(scope, receive, send)
            return
        # A copy, because the state of the scope is shared between requests.
        scope["state"] = {**scope.get("state", {}), "asked_by": "", "authorized": False}
        try:
            rejection = await self._reject(scope, receive)
        except Refusal as refusal:  # the store cannot say whether a link was used
            rejection = problem_response(refusal.details())

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        scope["state"]["authorized"] = rejection is None
        await (rejection or self.app)(scope, receive, with_headers)

    async def _reject(self, scope: Scope, receive: Receive) -> Response | None:
        """The response that ends the request here, or None to let it through."""
        headers = Headers(scope=scope)
        if refusal := _malformed(scope, headers):
            return problem_response(refusal.details())
        host = headers.get("host", "")
        if not self.any_host and _host_name(host) not in self.hosts:
            detail = f"This server does not serve the host name {host[:100]!r}."
            return problem_response(Refusal("forbidden", detail, _USE_KNOWN_NAME).details())
        if scope["method"] not in _READS and not _same_origin(headers, host):
            detail = "The request comes from a page of another site."
            return problem_response(Refusal("forbidden", detail).details())
        return None if self.tokens is None else await self._authenticate(self.tokens, scope, receive, headers)

    async def _authenticate(self, tokens: Tokens, scope: Scope, receive: Receive, headers: Headers) -> Response | None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if is_probe(scope):
            return None
        on_page = not path.startswith(("/api/", "/metrics"))
        form_token = await _form_token(receive) if on_page and _is_form(scope, headers) else None
        is_page = on_page and (scope["method"] in ("GET", "HEAD") or form_token is not None)
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True) if is_page else []
        params, rest = dict(query), [(name, value) for name, value in query if name not in ("token", "link")]
        if form_token is not None:
            params["token"] = form_token
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        bearer = bearer.strip() if scheme.lower() == "bearer" else ""
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        link = params.get("link", "") if scope["method"] == "GET" else ""
        if not (bearer or cookie or link or "token" in params):
            return _unauthorized(path, is_page)
        # A right cookie can be neither guessed nor derived from a guessed token: it is accepted even while its address
        # is blocked.
        if not (bearer or link or "token" in params) and (name := tokens.match_cookie(cookie)):
            scope["state"]["asked_by"] = name
            return None
        address = address_of(scope.get("client"))
        wait = self.throttle.blocked_for(address)
        if wait is not None:
            detail = "Too many wrong tokens were sent from your address, or from all addresses together."
            retry_after = {"Retry-After": str(math.ceil(wait))}
            return problem_response(Refusal("too_many_requests", detail).details(), retry_after)
        # Header bytes are always decoded as latin-1; this restores them.
        name = tokens.match_token(bearer.encode("latin-1")) or tokens.match_cookie(cookie)
        if name is not None:
            self.throttle.succeeded(address)
        if name is not None and len(rest) == len(query) and form_token is None:
            scope["state"]["asked_by"] = name
            return None
        name = name or tokens.match_token(params.get("token", "").encode("utf-8", "replace"))
        if name is None and link:
            name = tokens.match_link(link, time.time())
            if name is not None and not await run_in_threadpool(self.use_link, link_digest(link)):
                return _unauthorized(path, is_page, _LINK_NOT_VALID)
        if name is not None:
            self.throttle.succeeded(address)
            return _log_in(tokens.cookie(name), scope, rest)
        only_cookie = cookie if not (bearer or link or "token" in params) else None
        self.throttle.failed(address, only_cookie)
        return _unauthorized(path, is_page, _LINK_NOT_VALID if link else "")


def _is_form(scope: Scope, headers: Headers) -> bool:
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    return scope["method"] == "POST" and media_type == "application/x-www-form-urlencoded"


async def _form_token(receive: Receive) -> str:
    """The token of the submitted login form; empty if the form is too long or too slow."""
    body = b""
    try:
        async with asyncio.timeout(_FORM_WITHIN_S):
            more = True
            while more and len(body) <= _MAX_FORM_BYTES:
                message = await receive()
                body += message.get("body", b"")
                more = message.get("more_body", False)
    except TimeoutError:
        return ""
    return dict(parse_qsl(body.decode("latin-1"))).get("token", "") if len(body) <= _MAX_FORM_BYTES else ""


def _unauthorized(path: str, is_page: bool, message: str = "") -> Response:
    details = Refusal("token_required", "This server requires a token.").details()
    if is_page and not path.startswith("/assets/"):
        page = _LOGIN_PAGE.format(title=escape(details.title), message=escape(message), way_out=escape(details.way_out))
        return HTMLResponse(page, 401, {"Cache-Control": "no-store"})
    return problem_response(details, {"WWW-Authenticate": "Bearer"})


def _malformed(scope: Scope, headers: Headers) -> Refusal | None:
    """A refusal of requests that no ordinary client sends and that other software would interpret differently."""
    head = len(scope.get("raw_path") or b"") + len(scope["query_string"]) + sum(len(n) + len(v) for n, v in headers.raw)
    if head > MAX_HEAD_BYTES:
        return Refusal("headers_too_large", f"The head of the request exceeds {MAX_HEAD_BYTES // 1024} KiB.")
    # "GET http://other/ HTTP/1.1" is for proxies, which this is not.
    if not scope["path"].startswith("/"):
        return Refusal("bad_http", "The path does not begin with a slash.")
    # No database row or file has a name with a NUL byte.
    if "\0" in scope["path"]:
        return Refusal("not_found", "No path contains a NUL byte.")
    if b"%00" in scope["query_string"]:
        return Refusal("bad_http", "The query contains a NUL byte.")
    return None


def is_probe(scope: Scope) -> bool:
    """True if a request is a liveness or readiness probe."""
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    return path in OPEN_PATHS and scope["method"] in _READS


def is_wildcard(host: str) -> bool:
    """True if binding to ``host`` means every address of the machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_unspecified
    except ValueError:
        return host == ""


def _log_in(cookie: str, scope: Scope, query: list[tuple[str, str]]) -> Response:
    # Relative, so that it works behind a proxy that serves this page under a path.
    page = "./" + scope["path"].rpartition("/")[2] + ("?" + urlencode(query) if query else "")
    response = RedirectResponse(page, 303, {"Cache-Control": "no-store"})
    secure = scope.get("scheme") == "https"
    root = scope.get("root_path", "") or "/"
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=30 * 86_400,
        path=root,
        httponly=True,
        samesite="lax",
        secure=secure,
    )
    return response


def _host_name(host: str) -> str:
    """The name without the port: ``"[::1]:8000"`` -> ``"::1"``; empty if the text is not exactly a host."""
    match = _HOST.fullmatch(host.lower())
    return (match["v6"] or match["name"]) if match else ""


def _same_origin(headers: Headers, host: str) -> bool:
    """True if a write comes from this page, or from no page at all (programs send neither header)."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        # Set by the browser, and valid even where a proxy rewrites the Host header.
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is None or origin.lower().partition("://")[2] == host.lower() != ""


_USE_KNOWN_NAME = (
    "Open the page at the address that arithmoscope serve printed, or add the name to ARITHMOSCOPE_ALLOWED_HOSTS."
)
_LINK_NOT_VALID = "This link was used before or has expired: a link opens the page once, within a day."
_LOGIN_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Arithmoscope</title>
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<body style="font: 1rem/1.5 system-ui; max-width: 34rem; margin: 4rem auto; padding: 0 1rem">
<h1>{title}</h1><p>{message}</p><p>{way_out}</p>
<form method="post"><label>Token <input name="token" type="password" autocomplete="off" required></label>
<button>Open</button></form></body></html>"""
