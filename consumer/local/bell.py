"""How one process wakes another: a datagram to a socket beside the file.  Nobody polls where that works."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Bell:
    """The socket at which other processes wake a consumer."""

    def __init__(self, listener: socket.socket, path: Path, wake: Callable[[], None]) -> None:
        self._listener = listener
        self._path = path
        self._wake = wake

    @classmethod
    def hang(cls, path: Path, wake: Callable[[], None]) -> Bell | None:
        """Listen at the path; None where that cannot be done or another consumer does."""
        listener = datagram_socket()
        if listener is None:
            return None
        try:
            if knock(listener, path):
                raise FileExistsError(path)
            path.unlink(missing_ok=True)
            listener.bind(str(path))
            bell = cls(listener, path, wake)
            asyncio.get_running_loop().add_reader(listener.fileno(), bell._heard)
        except (OSError, NotImplementedError):
            # Taken, or too long for a socket's path, or a loop that knows no sockets: look every second.
            listener.close()
            return None
        return bell

    def take_down(self) -> None:
        asyncio.get_running_loop().remove_reader(self._listener.fileno())
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _heard(self) -> None:
        with suppress(OSError):
            while self._listener.recv(16):
                pass
        self._wake()


def datagram_socket() -> socket.socket | None:
    """None where there are no Unix sockets."""
    if not hasattr(socket, "AF_UNIX"):
        return None
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.settimeout(0)
    return made


def knock(sender: socket.socket, path: Path) -> bool:
    """Whether somebody listens at the path."""
    try:
        sender.sendto(b"!", str(path))
    except BlockingIOError:
        # So many datagrams wait there that one more would say nothing new.
        return True
    except OSError:
        return False
    return True
