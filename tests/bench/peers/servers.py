"""Redis and PostgreSQL of this machine, each started on loopback in a directory of its own, and ended again."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Missing(Exception):
    """A server is not installed; the text says what to do."""


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        if process.poll() is not None:
            raise Missing(f"{process.args!r} ended with {process.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise Missing(f"{process.args!r} does not listen")


@contextmanager
def redis(place: Path) -> Iterator[str]:
    """A Redis with an append-only file, so that a task outlives a crash of every process; yields its address."""
    program = shutil.which("redis-server")
    if program is None:
        raise Missing("Redis is not installed: apt-get install redis-server")
    port = _free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(place)]
    command += ["--appendonly", "yes", "--appendfsync", "everysec"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _await(port, process)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def postgres(place: Path) -> Iterator[str]:
    """A PostgreSQL with its default settings; yields its address.  It runs as `postgres`, because it refuses to run as
    root."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        raise Missing("PostgreSQL is not installed: apt-get install postgresql")
    programs, port, data = found[-1].parent, _free_port(), place / "postgres"
    data.mkdir()
    user = "postgres" if os.geteuid() == 0 else None
    if user is not None:
        os.chown(data, pwd.getpwnam(user).pw_uid, -1)
        for parent in (place, *place.parents):
            if parent.stat().st_uid == 0 and parent != Path(parent.anchor):
                parent.chmod(parent.stat().st_mode | 0o011)
    initdb = [str(programs / "initdb"), "--pgdata", str(data), "--auth", "trust", "--username", "bench"]
    subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, user=user)
    options = ["-p", str(port), "-c", "listen_addresses=127.0.0.1", "-k", str(data)]
    process = subprocess.Popen(
        [programs / "postgres", "-D", data, *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        user=user,
    )
    try:
        _await(port, process)
        yield f"postgresql://bench@127.0.0.1:{port}/postgres"
    finally:
        process.terminate()
        process.wait()
