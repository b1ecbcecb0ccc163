"""Pages whose commands are run: the text below a heading, and the marked blocks.

A block `sh offline` needs no account after `rehearsed()`; a block `sh api` calls a running Worker; a block
`toml offline` is a part of wrangler.toml; `sql offline` is a statement, and `sql refused` one that fails.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "docs" / "deploy.md"
OPERATIONS = ROOT / "docs" / "operations.md"
DATABASE = ROOT / "docs" / "database.md"
EXAMPLE = ROOT / "examples" / "producer" / "README.md"

FENCE = re.compile(r"^( *)```(\w+ (?:offline|api|refused))\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def sections(document: Path) -> dict[str, str]:
    """The text below each heading."""
    parts = re.split(r"^##+ (.+)$", document.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def blocks(document: Path, section: str, kind: str = "sh offline") -> list[str]:
    """The marked blocks of a section, without their indentation."""
    found = FENCE.findall(sections(document)[section])
    return [
        re.sub(f"^{indent}", "", body, flags=re.MULTILINE) for indent, said, body in found if said == kind
    ]


def tables(document: Path, section: str) -> list[list[dict[str, str]]]:
    """The tables of a section as lists of rows: the cells by the heads of their columns.  An escaped bar is text."""
    found: list[list[dict[str, str]]] = []
    lines = [*sections(document)[section].splitlines(), ""]
    block: list[list[str]] = []
    for line in lines:
        if line.startswith("|"):
            cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
            block.append([cell.strip().replace("\\|", "|") for cell in cells])
        elif block:
            head, _, *rows = block
            found.append([dict(zip(head, row, strict=True)) for row in rows])
            block = []
    return found


def rehearsed(block: str) -> str:
    """The same commands without an account: on a local database, and with a dry run instead of a deployment."""
    return block.replace("--remote", "--local").replace("wrangler deploy", "wrangler deploy --dry-run")


def shell(script: str, directory: Path, variables: Mapping[str, str] | None = None) -> str:
    """The output of a script, run offline in the environment of this checkout, with telemetry switched off."""
    quiet = {"CI": "1", "NO_COLOR": "1", "WRANGLER_SEND_METRICS": "false", "WRANGLER_WRITE_LOGS": "false"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=directory,
        env={**os.environ, **quiet, **(variables or {}), "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr
