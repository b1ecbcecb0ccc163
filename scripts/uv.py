"""Run the environment's uv with the user's pip settings.

uv does not read pip's configuration.  Behind a company's package mirror or certificate, pip would work and uv would
not.  A setting that the user made for uv itself takes precedence.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ENVIRONMENT = Path(sys.prefix)
BIN = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")

# pip's setting, the variable that means the same to uv, and the other variables by which a user may have set it.
SETTINGS = (
    ("index-url", "UV_DEFAULT_INDEX", ("UV_INDEX_URL",)),
    ("cert", "SSL_CERT_FILE", ("SSL_CERT_DIR", "UV_SYSTEM_CERTS", "UV_NATIVE_TLS")),
)


def pip_settings() -> dict[str, str]:
    """Read pip's settings by name; a setting from the environment wins over one from a file."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    pairs = (line.partition("=") for line in sorted(listed, key=lambda line: line.startswith(":env:")))
    return {name.rpartition(".")[2]: value.strip("'\"") for name, _, value in pairs}


def environment() -> dict[str, str]:
    """Return the environment for uv: that of this process, and pip's settings where uv has none of its own."""
    pip = pip_settings()
    variables = dict(os.environ)
    for name, variable, others in SETTINGS:
        if name in pip and not any(other in variables for other in (variable, *others)):
            variables[variable] = pip[name]
    variables["VIRTUAL_ENV"] = str(ENVIRONMENT)
    return variables


if __name__ == "__main__":
    sys.exit(subprocess.run([str(BIN / "uv"), *sys.argv[1:]], env=environment(), check=False).returncode)
