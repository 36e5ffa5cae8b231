"""What opens a server that has tokens: a token, the cookie derived from it, and links that work once.

Nothing is compared in a time that depends on how much of it is right, and every token is looked at each time.
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
GUESSES = 30
GUESSES_WITHIN_S = 60.0
# Over all addresses together.
GUESSES_IN_ALL = 600
# Addresses whose wrong tokens are counted at once; beyond, the oldest are forgotten.
_COUNTED_ADDRESSES = 10_000


class Tokens:
    """The tokens of a server. Each question is answered with the short name of the token that fits, or None."""

    def __init__(self, tokens: Sequence[str], secret: str = "") -> None:
        self._tokens = [(token.encode(), token_name(token)) for token in tokens]
        self._cookies = {
            name: cookie_value(token, secret) for token, (_, name) in zip(tokens, self._tokens, strict=True)
        }

    def of_token(self, given: bytes) -> str | None:
        """Whose token these bytes are."""
        return self._matching(hashlib.sha256(given).digest(), lambda token, _: hashlib.sha256(token).digest())

    def of_cookie(self, given: str) -> str | None:
        """Whose cookie this is."""
        return self._matching(given.encode("utf-8", "replace"), lambda _, name: self._cookies[name].encode())

    def of_link(self, link: str, now: float) -> str | None:
        """Whose link this is, unless it is forged or too old (``now``: seconds since 1970)."""
        about, _, seal = link.rpartition(".")
        expires = about.partition(".")[0]
        name = self._matching(seal.encode("utf-8", "replace"), lambda token, _: _seal(token, about).encode())
        return name if expires.isascii() and expires.isdecimal() and now < int(expires[:12]) else None

    def cookie(self, name: str) -> str:
        """The cookie of the token with this name."""
        return self._cookies[name]

    def _matching(self, given: bytes, expected: Callable[[bytes, str], bytes]) -> str | None:
        found = None
        for token, name in self._tokens:
            if hmac.compare_digest(given, expected(token, name)):
                found = name
        return found


def token_name(token: str) -> str:
    """A short name for a token, by which its holder's experiments are counted: no way leads back from it."""
    return hmac.new(token.encode(), b"arithmoscope name", hashlib.sha256).hexdigest()[:8]


def cookie_value(token: str, secret: str) -> str:
    """What the cookie holds: nobody can make it of the token alone, and no way leads back to the token."""
    return hmac.new(token.encode(), f"arithmoscope cookie {secret}".encode(), hashlib.sha256).hexdigest()


def one_time_link(token: str, now: float | None = None) -> str:
    """A text for the address of the page (``/?link=...``) that lets somebody in once, within a day."""
    expires = int((time.time() if now is None else now) + LINK_LIFE_S)
    about = f"{expires}.{secrets.token_urlsafe(16)}"
    return f"{about}.{_seal(token.encode(), about)}"


def link_digest(link: str) -> str:
    """By what a used link is remembered."""
    return hashlib.sha256(link.encode("utf-8", "replace")).hexdigest()


def _seal(token: bytes, about: str) -> str:
    return hmac.new(token, f"arithmoscope link {about}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()


@dataclass(slots=True)
class _Count:
    until: float
    wrong: int = 0
    cookies: set[str] = field(default_factory=set)


class Guesses:
    """Counts wrong tokens by address: after `GUESSES` of them no token opens from there until a minute is over.

    A right one does not open either, or one could go on guessing. After `GUESSES_IN_ALL` that holds for every address
    from which no right one came before: who guesses from many is slowed down as well. A wrong cookie counts once: a
    page that is left open with the cookie of yesterday's token guesses nothing.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: dict[str, _Count] = {}
        self._in_all = _Count(0.0)
        self._known: dict[str, None] = {}

    def wait(self, address: str) -> float | None:
        """Seconds until this address may try again; None when it may now."""
        everywhere = self._in_all.until - self._clock()
        if everywhere > 0 and self._in_all.wrong >= GUESSES_IN_ALL and address not in self._known:
            return everywhere
        count = self._counts.get(address)
        left = 0.0 if count is None else count.until - self._clock()
        if count is None or left <= 0:
            self._counts.pop(address, None)
            return None
        return left if count.wrong >= GUESSES else None

    def wrong(self, address: str, cookie: str | None = None) -> None:
        """One more wrong token, or a wrong cookie, came from an address."""
        count = self._counts.get(address)
        if count is None or count.until <= self._clock():
            while len(self._counts) >= _COUNTED_ADDRESSES:
                del self._counts[next(iter(self._counts))]
            count = self._counts[address] = _Count(self._clock() + GUESSES_WITHIN_S)
        if cookie is not None:
            digest = link_digest(cookie)
            if digest in count.cookies:
                return
            count.cookies.add(digest)
        count.wrong += 1
        if self._in_all.until <= self._clock():
            self._in_all = _Count(self._clock() + GUESSES_WITHIN_S)
        self._in_all.wrong += 1

    def right(self, address: str) -> None:
        """A right token came from an address."""
        if address not in self._known:
            while len(self._known) >= _COUNTED_ADDRESSES:
                del self._known[next(iter(self._known))]
            self._known[address] = None


def address_of(client: tuple[str, int] | None) -> str:
    """By what a client is counted: its address; of an IPv6 one the half that it was given by its network."""
    host = client[0] if client else ""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if address.version == 4:
        return str(address)
    mapped = address.ipv4_mapped
    return str(mapped) if mapped else str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
