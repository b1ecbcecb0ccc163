"""Build what would be deployed, without deploying it, and say what it is.

Vendors the Worker's packages into `python_modules/`, lets wrangler stage and bundle (a dry run: no account, no
network), prints the product's own modules and the total, and fails when wrangler would upload anything else.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

from scripts import stage, wheels
from scripts.uv import BIN

ROOT = stage.ROOT
BUNDLE = ROOT / "dist"
WRANGLER = ROOT / "node_modules" / "wrangler" / "bin" / "wrangler.js"
TOTAL = re.compile(r"^Total Upload: .*$", re.MULTILINE)


def vendor() -> None:
    """Make `python_modules/` what the lock says, unless it is that already."""
    if stage.MARK.exists() and stage.MARK.read_text() == stage.lock_digest():
        return
    shutil.rmtree(stage.VENDORED, ignore_errors=True)
    wheels.install(stage.LOCK, stage.VENDORED)
    shutil.rmtree(stage.VENDORED / "bin", ignore_errors=True)
    # An empty one is enough: the runtime then takes the directory for an environment and reads its .pth files.
    (stage.VENDORED / "pyvenv.cfg").touch()
    stage.MARK.write_text(stage.lock_digest())


def dry_run() -> str:
    """What wrangler prints; the bundle is in `dist/` then.  Raises RuntimeError with all of it."""
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


def bundled() -> set[str]:
    """The names of the product's own modules in the bundle."""
    names = {path.relative_to(BUNDLE).as_posix() for path in BUNDLE.rglob("*") if path.is_file()}
    return {name for name in names if not name.startswith("python_modules/") and name != "README.md"}


def main() -> None:
    """Build, compare, print."""
    vendor()
    output = dry_run()
    expected, found = set(stage.shipped()), bundled()
    if expected != found:
        sys.exit(f"not shipped: {sorted(expected - found)}; shipped by surprise: {sorted(found - expected)}")
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
