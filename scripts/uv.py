"""Run the environment's uv with what the user has told pip.

uv does not read pip's configuration: behind a company's mirror or certificate, pip would work and uv would not.
Whatever the user has told uv itself stays as it is.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ENVIRONMENT = Path(sys.prefix)
BIN = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")

# pip's name for a setting, the variable that tells uv the same, and other variables that would have told it.
SETTINGS = (
    ("index-url", "UV_DEFAULT_INDEX", ("UV_INDEX_URL",)),
    ("cert", "SSL_CERT_FILE", ("SSL_CERT_DIR", "UV_SYSTEM_CERTS", "UV_NATIVE_TLS")),
)


def pip_settings() -> dict[str, str]:
    """What `pip config list` says, without the names of its sections; the environment comes last and wins."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    pairs = (line.partition("=") for line in sorted(listed, key=lambda line: line.startswith(":env:")))
    return {name.rpartition(".")[2]: value.strip("'\"") for name, _, value in pairs}


def environment() -> dict[str, str]:
    """The process's environment, completed."""
    said = pip_settings()
    known = dict(os.environ)
    for name, variable, others in SETTINGS:
        if name in said and not any(other in known for other in (variable, *others)):
            known[variable] = said[name]
    known["VIRTUAL_ENV"] = str(ENVIRONMENT)
    return known


if __name__ == "__main__":
    sys.exit(subprocess.run([str(BIN / "uv"), *sys.argv[1:]], env=environment(), check=False).returncode)
