"""Who may speak to this server: known host names, the page's own origin, and the holder of the token.

- Host allow-list: a page of another site that points its own name at this machine (DNS rebinding) is refused.
- Same origin on writes: another site cannot make a visitor's browser start or delete experiments.
- Tokens, when there are any: a bearer header, or a cookie that the links ``/?link=...`` (once) and
  ``/?token=...`` set, and the form of the page that asks for it. The cookie holds a value derived from the token and
  a secret of the store, not the token itself. Whoever guesses is slowed down by address.
- Headers on every answer: a strict content security policy, no sniffing, no framing, no referrer.
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
from arithmoscope_api.http.credentials import Guesses, Tokens, address_of, link_digest
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
# A probe of a load balancer has no token; the answer says nothing but ready or not.
OPEN_PATHS = frozenset({"/api/ready", "/api/live"})

# A form that holds one token.
_MAX_FORM_BYTES = 8 * 1024
_FORM_WITHIN_S = 10.0
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::[0-9]{0,5})?")


class Gate:
    """Lets known hosts, this origin and the tokens through, and puts the headers on every answer.

    What it lets through finds in ``scope["state"]["asked_by"]`` the short name of its token, ``""`` without tokens.
    ``secret`` is what its cookies are made with, beside the token; nobody outside knows it.
    ``use_link`` keeps the digest of a link and says whether it was the first time; it may wait for a database.
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
        guesses: Guesses | None = None,
    ) -> None:
        self.app = app
        self.tokens = Tokens(tokens, secret) if tokens else None
        self.use_link = use_link
        self.guesses = guesses or Guesses()
        self.hosts = _LOOPBACK_NAMES | {name.lower() for name in allowed_hosts} | {host.lower()}
        # Bound to every address, a server cannot know its names. It has a token then, and a rebound name
        # brings no cookie.
        self.any_host = bool(tokens) and is_wildcard(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] != "websocket":
                await self.app(scope, receive, send)
            return
        # A state of its own: what is written here is for this request alone.
        scope["state"] = {**scope.get("state", {}), "asked_by": "", "let_in": False}
        try:
            answer = await self._judge(scope, receive)
        except Refusal as refusal:  # the store cannot say whether a link was used
            answer = problem_response(refusal.details())

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        scope["state"]["let_in"] = answer is None
        await (answer or self.app)(scope, receive, with_headers)

    async def _judge(self, scope: Scope, receive: Receive) -> Response | None:
        """The answer that ends the request here, or None to let it through."""
        headers = Headers(scope=scope)
        if refusal := _odd_address(scope, headers):
            return problem_response(refusal.details())
        host = headers.get("host", "")
        if not self.any_host and _host_name(host) not in self.hosts:
            said = f"This server does not answer to the name {host[:100]!r}."
            return problem_response(Refusal("forbidden", said, _KNOWN_NAMES).details())
        if scope["method"] not in _READS and not _same_origin(headers, host):
            said = "The request comes from a page of another site."
            return problem_response(Refusal("forbidden", said).details())
        return None if self.tokens is None else await self._with_token(self.tokens, scope, receive, headers)

    async def _with_token(self, tokens: Tokens, scope: Scope, receive: Receive, headers: Headers) -> Response | None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if is_probe(scope):
            return None
        for_people = not path.startswith(("/api/", "/metrics"))
        typed = await _typed_token(receive) if for_people and _is_form(scope, headers) else None
        is_page = for_people and (scope["method"] in ("GET", "HEAD") or typed is not None)
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True) if is_page else []
        given, rest = dict(query), [(name, value) for name, value in query if name not in ("token", "link")]
        if typed is not None:
            given["token"] = typed
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        bearer = bearer.strip() if scheme.lower() == "bearer" else ""
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        link = given.get("link", "") if scope["method"] == "GET" else ""
        if not (bearer or cookie or link or "token" in given):
            return _closed(path, is_page)
        # A right cookie cannot be guessed, nor be made of a guessed token: it opens whoever else is at that address.
        if not (bearer or link or "token" in given) and (name := tokens.of_cookie(cookie)):
            scope["state"]["asked_by"] = name
            return None
        address = address_of(scope.get("client"))
        wait = self.guesses.wait(address)
        if wait is not None:
            said = "Too many wrong tokens came from your address, or from everywhere."
            return problem_response(Refusal("too_many_requests", said).details(), {"Retry-After": str(math.ceil(wait))})
        # Header bytes come decoded as latin-1, whatever they were.
        name = tokens.of_token(bearer.encode("latin-1")) or tokens.of_cookie(cookie)
        if name is not None:
            self.guesses.right(address)
        if name is not None and len(rest) == len(query) and typed is None:
            scope["state"]["asked_by"] = name
            return None
        name = name or tokens.of_token(given.get("token", "").encode("utf-8", "replace"))
        if name is None and link:
            name = tokens.of_link(link, time.time())
            if name is not None and not await run_in_threadpool(self.use_link, link_digest(link)):
                return _closed(path, is_page, _USED_LINK)
        if name is not None:
            self.guesses.right(address)
            return _let_in(tokens.cookie(name), scope, rest)
        only_cookie = cookie if not (bearer or link or "token" in given) else None
        self.guesses.wrong(address, only_cookie)
        return _closed(path, is_page, _USED_LINK if link else "")


def _is_form(scope: Scope, headers: Headers) -> bool:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return scope["method"] == "POST" and kind == "application/x-www-form-urlencoded"


async def _typed_token(receive: Receive) -> str:
    """What somebody wrote into the page that asks for a token; empty for what is too long or too slow."""
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


def _closed(path: str, is_page: bool, said: str = "") -> Response:
    details = Refusal("token_required", "This server is open to the holder of its token only.").details()
    if is_page and not path.startswith("/assets/"):
        page = _TOKEN_PAGE.format(title=escape(details.title), said=escape(said), way_out=escape(details.way_out))
        return HTMLResponse(page, 401, {"Cache-Control": "no-store"})
    return problem_response(details, {"WWW-Authenticate": "Bearer"})


def _odd_address(scope: Scope, headers: Headers) -> Refusal | None:
    """Refuses (``bad_http``) what no honest client sends: it would be read differently by the next that looks."""
    head = len(scope.get("raw_path") or b"") + len(scope["query_string"]) + sum(len(n) + len(v) for n, v in headers.raw)
    if head > MAX_HEAD_BYTES:
        return Refusal("headers_too_large", f"The head of the request is longer than {MAX_HEAD_BYTES // 1024} KiB.")
    if len(headers.getlist("host")) > 1:
        return Refusal("bad_http", "The request names several hosts.")
    # "GET http://other/ HTTP/1.1" is for proxies, and this is none.
    if not scope["path"].startswith("/"):
        return Refusal("bad_http", "The address does not begin with a slash.")
    # No database, file or person knows a name with a zero byte in it.
    if "\0" in scope["path"]:
        return Refusal("not_found", "There is nothing at an address that holds a zero byte.")
    if b"%00" in scope["query_string"]:
        return Refusal("bad_http", "The address holds a zero byte.")
    return None


def is_probe(scope: Scope) -> bool:
    """Whether it only asks whether the server lives or is ready."""
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    return path in OPEN_PATHS and scope["method"] in _READS


def is_wildcard(host: str) -> bool:
    """Whether binding to ``host`` means every address of the machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_unspecified
    except ValueError:
        return host == ""


def _let_in(cookie: str, scope: Scope, query: list[tuple[str, str]]) -> Response:
    # Relative, so that it holds behind a proxy that serves this page under a path.
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
    """``"[::1]:8000"`` -> ``"::1"``; empty for what is no host and nothing but a host."""
    found = _HOST.fullmatch(host.lower())
    return (found["v6"] or found["name"]) if found else ""


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
_USED_LINK = "This link was used before, or it is too old: each opens the page once, within a day."
_TOKEN_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Arithmoscope</title>
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<body style="font: 1rem/1.5 system-ui; max-width: 34rem; margin: 4rem auto; padding: 0 1rem">
<h1>{title}</h1><p>{said}</p><p>{way_out}</p>
<form method="post"><label>Token <input name="token" type="password" autocomplete="off" required></label>
<button>Open</button></form></body></html>"""
