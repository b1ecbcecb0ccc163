"""The end of a child process that runs for as long as its standard input is open.

Such a child ends with its parent, however the parent ends: the system closes the pipe.
"""

from __future__ import annotations

import asyncio


async def end(process: asyncio.subprocess.Process, patience_s: float) -> None:
    """Close the standard input of a child, wait for its end, and kill it after `patience_s` seconds."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(patience_s):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
