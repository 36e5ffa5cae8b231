"""The listening socket of the page and the API, bound before anything else starts, so a taken port is refused."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from arithmoscope.contracts.errors import Refusal


@contextmanager
def listening_on(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens already: connections wait while the API starts or restarts, instead of being refused."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a name"
        raise Refusal("bad_setting", f"{host!r} is not an address of this machine: {reason}.") from error
    with socket.socket(family, kind, protocol) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Inherited by accepted connections; otherwise a response in two parts waits 40 ms for the reader's ACK.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            listening.bind(address)
            listening.listen(128)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise Refusal("port_in_use", f"Port {port} of {host} is used by another program.") from error
            raise Refusal("bad_setting", f"{host}:{port} cannot be used: {error.strerror}.") from error
        yield listening


def address_of(host: str, listening: socket.socket) -> str:
    """The URL of what listens on a host."""
    bound, port = listening.getsockname()[:2]
    if ipaddress.ip_address(bound).is_unspecified:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
