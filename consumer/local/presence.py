"""Whether another process works on a data directory.  The operating system frees a lock when its process dies.

Every working process holds the lock in common.  A process that can have it alone knows that all others are dead, so it
takes their leases back at once, and does not wait until they expire.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@contextmanager
def present(file: Path, alone: Callable[[], object]) -> Iterator[None]:
    """Hold the lock while this is open.  `alone` is called first if no other process holds it.

    Without such locks, on Windows, `alone` is never called: the sweep waits for the leases."""
    if sys.platform == "win32":
        yield
        return
    import fcntl  # noqa: PLC0415  # Windows has no such module

    with file.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pass
        else:
            alone()  # no other process can begin to work before this one shares the lock
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield
