"""The port of `bizq dev` on loopback."""

from __future__ import annotations

import socket

from consumer.cli.group import Failure


def listen(port: int) -> socket.socket:
    """A socket that is bound to a port of loopback (0: a free one).  Raises Failure if the port is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise Failure(
            f"port {port} cannot be used ({error.strerror}): choose another one with --port, or 0 for a free one"
        ) from None
    return listener
