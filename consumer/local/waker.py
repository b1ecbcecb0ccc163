"""How one process wakes the consumer of another: with a datagram to a Unix socket beside the queue's file.

Where Unix sockets work, no process has to poll.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Waker:
    """The socket at which a consumer receives datagrams from other processes."""

    def __init__(self, listener: socket.socket, path: Path, on_wake: Callable[[], None]) -> None:
        self._listener = listener
        self._path = path
        self._on_wake = on_wake

    @classmethod
    def listen(cls, path: Path, on_wake: Callable[[], None]) -> Waker | None:
        """Call `on_wake` for each datagram to the path.  None if that is impossible, or another consumer listens."""
        listener = datagram_socket()
        if listener is None:
            return None
        try:
            if wake(listener, path):
                raise FileExistsError(path)
            path.unlink(missing_ok=True)
            listener.bind(str(path))
            waker = cls(listener, path, on_wake)
            asyncio.get_running_loop().add_reader(listener.fileno(), waker._receive)
        except (OSError, NotImplementedError):
            # The path is taken or too long for a socket, or this event loop has no sockets: the consumer polls.
            listener.close()
            return None
        return waker

    def close(self) -> None:
        """Stop listening, and delete the socket."""
        asyncio.get_running_loop().remove_reader(self._listener.fileno())
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _receive(self) -> None:
        with suppress(OSError):
            while self._listener.recv(16):
                pass
        self._on_wake()


def datagram_socket() -> socket.socket | None:
    """A Unix socket for datagrams that never blocks; None on a system without Unix sockets."""
    if not hasattr(socket, "AF_UNIX"):
        return None
    created = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    created.settimeout(0)
    return created


def wake(sender: socket.socket, path: Path) -> bool:
    """Send a datagram to the path.  Returns whether a consumer listens there."""
    try:
        sender.sendto(b"!", str(path))
    except BlockingIOError:
        # The socket is full of datagrams, so the consumer will wake without this one.
        return True
    except OSError:
        return False
    return True
