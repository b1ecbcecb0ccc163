"""Build the Worker without deploying it, and list its modules.

This installs the Worker's packages into `python_modules/` and lets wrangler stage and bundle in a dry run, which needs
neither an account nor a network.  It fails if wrangler would upload other modules of ours than `scripts.stage` names.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

from scripts import stage, wheels
from scripts.uv import BIN

if TYPE_CHECKING:
    from pathlib import Path

ROOT = stage.ROOT
BUNDLE = ROOT / "dist"
WRANGLER = ROOT / "node_modules" / "wrangler" / "bin" / "wrangler.js"
TOTAL = re.compile(r"^Total Upload: .*$", re.MULTILINE)

PYWRANGLER_TOKENS = ("python_modules/.synced", ".venv-workers/.synced")
"""Where pywrangler records its own version after a sync."""


def vendor() -> None:
    """Install the packages of the lock into `python_modules/`, unless they are already there."""
    if stage.LOCK_DIGEST_FILE.exists() and stage.LOCK_DIGEST_FILE.read_text() == stage.lock_digest():
        return
    shutil.rmtree(stage.VENDORED, ignore_errors=True)
    wheels.install(stage.LOCK, stage.VENDORED)
    shutil.rmtree(stage.VENDORED / "bin", ignore_errors=True)
    # An empty file is enough: with it, the runtime treats the directory as an environment and reads its .pth files.
    (stage.VENDORED / "pyvenv.cfg").touch()
    stage.LOCK_DIGEST_FILE.write_text(stage.lock_digest())


def mark_synced(root: Path) -> None:
    """Tell pywrangler that the packages of a checkout are up to date.

    Without this, `pywrangler deploy` and `pywrangler dev` would resolve and install the packages again, and replace the
    files that the tests used.  A token that is newer than pyproject.toml and names pywrangler's version prevents it.
    """
    for name in PYWRANGLER_TOKENS:
        token = root / name
        token.parent.mkdir(exist_ok=True)
        token.write_text(version("workers-py"))


def dry_run() -> str:
    """Bundle into `dist/` and return the output of wrangler.  Raises RuntimeError with that output."""
    shutil.rmtree(BUNDLE, ignore_errors=True)
    path = f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"
    quiet = {
        "CI": "1",
        "NO_COLOR": "1",
        "WRANGLER_WRITE_LOGS": "false",
        "WRANGLER_SEND_METRICS": "false",
        "WRANGLER_HIDE_BANNER": "true",
    }
    command = [str(BIN / "node"), str(WRANGLER), "deploy", "--dry-run", "--outdir", str(BUNDLE)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | quiet | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    output = done.stdout + done.stderr
    if done.returncode:
        raise RuntimeError(f"wrangler refused the bundle:\n{output}")
    return output


def bundled(directory: Path) -> set[str]:
    """Return the names of our own modules in a bundle."""
    names = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
    return {name for name in names if not name.startswith("python_modules/") and name != "README.md"}


def main() -> None:
    """Build, compare, print."""
    vendor()
    mark_synced(ROOT)
    output = dry_run()
    expected, found = set(stage.shipped()), bundled(BUNDLE)
    if expected != found:
        sys.exit(f"missing in the bundle: {sorted(expected - found)}; unexpected: {sorted(found - expected)}")
    sizes = {name: (BUNDLE / name).stat().st_size for name in sorted(found)}
    for name, size in sizes.items():
        print(f"{size:>9,}  {name}")
    vendored = sum(path.stat().st_size for path in stage.VENDORED.rglob("*") if path.is_file())
    print(f"{sum(sizes.values()):>9,}  bytes in {len(sizes)} modules of our own")
    print(f"{vendored:>9,}  bytes in python_modules, from {stage.LOCK.relative_to(ROOT)}")
    total = TOTAL.search(output)
    print(total.group() if total else output)


if __name__ == "__main__":
    main()
