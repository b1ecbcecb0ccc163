"""Which modules the entry of the Worker imports: the others wait for the first request that needs them."""

from __future__ import annotations

import subprocess
import sys

from scripts.stage import ROOT

LATE = (
    "consumer.core.answers",
    "consumer.service.admin",
    "consumer.service.doctor",
    "consumer.service.people",
    "consumer.service.restore",
    "consumer.web.openapi",
    "consumer.web.pages.inbox",
    "standardwebhooks",
)
PROBE = """
import sys
from tests.repository.import_probe import Runtime
for name in ("js", "pyodide", "pyodide.ffi", "workers"):
    sys.modules[name] = Runtime(name)
import consumer.worker
print(*sys.modules)
"""


def test_the_entry_imports_nothing_that_few_events_need() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], cwd=ROOT, capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert "consumer.run.run" in imported
    assert sorted(imported.intersection(LATE)) == []
