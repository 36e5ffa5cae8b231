"""Credentials of a server with tokens: tokens, cookies derived from them, and single-use login links.

Comparisons take constant time, and every token is compared each time, so that timing reveals nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

LINK_LIFE_S = 86_400
# Failed logins per address and window, and of all addresses together.
MAX_FAILURES = 30
MAX_FAILURES_TOTAL = 600
FAILURE_WINDOW_S = 60.0
# Addresses whose failures are counted at a time; beyond that, the oldest are forgotten.
_MAX_ADDRESSES = 10_000


class Tokens:
    """The tokens of a server. Each ``match_*`` method returns the short name of the matching token, or None."""

    def __init__(self, tokens: Sequence[str], secret: str = "") -> None:
        self._tokens = [(token.encode(), token_name(token)) for token in tokens]
        self._cookies = {
            name: cookie_value(token, secret) for token, (_, name) in zip(tokens, self._tokens, strict=True)
        }

    def match_token(self, candidate: bytes) -> str | None:
        """The name of the token that equals ``candidate``."""
        return self._match(hashlib.sha256(candidate).digest(), lambda token, _: hashlib.sha256(token).digest())

    def match_cookie(self, cookie: str) -> str | None:
        """The name of the token whose cookie this is."""
        return self._match(cookie.encode("utf-8", "replace"), lambda _, name: self._cookies[name].encode())

    def match_link(self, link: str, now: float) -> str | None:
        """The name of the token that signed a login link, unless the link is forged or expired.

        Args:
            link: The text after ``/?link=``.
            now: Unix time in seconds.
        """
        payload, _, signature = link.rpartition(".")
        expires = payload.partition(".")[0]
        name = self._match(signature.encode("utf-8", "replace"), lambda token, _: _sign(token, payload).encode())
        return name if expires.isascii() and expires.isdecimal() and now < int(expires[:12]) else None

    def cookie(self, name: str) -> str:
        """The cookie of the token with this name."""
        return self._cookies[name]

    def _match(self, candidate: bytes, expected: Callable[[bytes, str], bytes]) -> str | None:
        match = None
        for token, name in self._tokens:
            if hmac.compare_digest(candidate, expected(token, name)):
                match = name
        return match


def token_name(token: str) -> str:
    """A short, one-way name for a token, under which its experiments are counted."""
    return hmac.new(token.encode(), b"arithmoscope name", hashlib.sha256).hexdigest()[:8]


def cookie_value(token: str, secret: str) -> str:
    """The cookie's value: cannot be derived from the token alone, and does not reveal the token."""
    return hmac.new(token.encode(), f"arithmoscope cookie {secret}".encode(), hashlib.sha256).hexdigest()


def one_time_link(token: str, now: float | None = None) -> str:
    """A signed text for the page's address (``/?link=...``) that logs in once, within a day."""
    expires = int((time.time() if now is None else now) + LINK_LIFE_S)
    payload = f"{expires}.{secrets.token_urlsafe(16)}"
    return f"{payload}.{_sign(token.encode(), payload)}"


def link_digest(link: str) -> str:
    """The digest by which a used login link is remembered."""
    return hashlib.sha256(link.encode("utf-8", "replace")).hexdigest()


def _sign(token: bytes, payload: str) -> str:
    return hmac.new(token, f"arithmoscope link {payload}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()


@dataclass(slots=True)
class _Window:
    until: float
    failures: int = 0
    cookies: set[str] = field(default_factory=set)


class LoginThrottle:
    """Counts failed logins per address: after `MAX_FAILURES`, the address is blocked until its minute is over.

    The right token is blocked as well, otherwise guessing could continue. After `MAX_FAILURES_TOTAL`, every address
    without an earlier successful login is blocked: this slows down guessing from many addresses. A wrong cookie counts
    once: a page left open with the cookie of yesterday's token is not guessing.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._windows: dict[str, _Window] = {}
        self._total = _Window(0.0)
        self._successful: dict[str, None] = {}

    def blocked_for(self, address: str) -> float | None:
        """Seconds until this address may try again; None if it may now."""
        total_left = self._total.until - self._clock()
        if total_left > 0 and self._total.failures >= MAX_FAILURES_TOTAL and address not in self._successful:
            return total_left
        window = self._windows.get(address)
        left = 0.0 if window is None else window.until - self._clock()
        if window is None or left <= 0:
            self._windows.pop(address, None)
            return None
        return left if window.failures >= MAX_FAILURES else None

    def failed(self, address: str, cookie: str | None = None) -> None:
        """Counts a wrong token, or a wrong cookie, from an address."""
        window = self._windows.get(address)
        if window is None or window.until <= self._clock():
            while len(self._windows) >= _MAX_ADDRESSES:
                del self._windows[next(iter(self._windows))]
            window = self._windows[address] = _Window(self._clock() + FAILURE_WINDOW_S)
        if cookie is not None:
            digest = link_digest(cookie)
            if digest in window.cookies:
                return
            window.cookies.add(digest)
        window.failures += 1
        if self._total.until <= self._clock():
            self._total = _Window(self._clock() + FAILURE_WINDOW_S)
        self._total.failures += 1

    def succeeded(self, address: str) -> None:
        """Remembers that a right token came from an address."""
        if address not in self._successful:
            while len(self._successful) >= _MAX_ADDRESSES:
                del self._successful[next(iter(self._successful))]
            self._successful[address] = None


def address_of(client: tuple[str, int] | None) -> str:
    """The address by which a client is counted: IPv4 in full, IPv6 by its /64 network."""
    host = client[0] if client else ""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if address.version == 4:
        return str(address)
    mapped = address.ipv4_mapped
    return str(mapped) if mapped else str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
