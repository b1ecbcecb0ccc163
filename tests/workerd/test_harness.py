"""The harness itself: each command works, and no process is left."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest

from tests.workerd import pytest_inside
from tests.workerd.archives import HERE, below
from tests.workerd.configuration import Configuration, Options
from tests.workerd.harness import Workerd, WorkerdError
from tests.workerd.tables import split_statements
from tests.workerd.toolchain import MissingToolError, Toolchain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.workerd, pytest.mark.xdist_group("workerd")]

EXAMPLE = "https://api.example.com"


def eventually(read: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Return the first true value of `read`; each call is a round trip to the Worker."""
    end = time.monotonic() + seconds
    while not (seen := read()):
        assert time.monotonic() < end, "it did not happen in time"
    return seen


def noted(worker: Workerd, key: str) -> Any:
    value = worker.kv("STATUS", "get", key)["value"]
    return value and json.loads(value)


def call(worker: Workerd, url: str) -> Any:
    return worker.fetch("GET", f"/call?url={url}").json()


# --- events -------------------------------------------------------------------------------------------


def test_a_request_and_its_reply_cross_unchanged(sample: Workerd) -> None:
    reply = sample.fetch("POST", "/echo", body="größe".encode(), headers={"content-type": "text/plain"})
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert reply.json() == {"method": "POST", "url": "http://worker.test/echo", "text": "größe"}


def test_many_requests_at_once_are_answered_each_with_its_own(sample: Workerd) -> None:
    with ThreadPoolExecutor(10) as pool:
        urls = list(pool.map(lambda n: sample.fetch("GET", f"/{n}").json()["url"], range(30)))
    assert urls == [f"http://worker.test/{n}" for n in range(30)]


def test_a_directly_delivered_batch_returns_each_verdict(sample: Workerd) -> None:
    bodies = [{"name": "direct"}, {"name": "direct", "retry": 7}]
    verdicts = sample.deliver("jobs", [{"id": str(n), "body": body} for n, body in enumerate(bodies)])
    assert (verdicts.outcome, verdicts.acked, verdicts.retried) == ("ok", ("0",), {"1": 7})


def test_a_handler_that_raises_is_distinguished(sample: Workerd) -> None:
    verdicts = sample.deliver("jobs", [{"id": "a", "body": {"name": "broken", "raise": "on purpose"}}])
    assert (verdicts.outcome, verdicts.acked) == ("exception", ())
    assert any("on purpose" in entry["message"] for entry in sample.logs())


def test_a_message_goes_through_the_real_queue_and_is_retried(sample: Workerd) -> None:
    sample.send("DOORBELLS", [{"body": {"name": "real", "retry": 0}}])
    eventually(lambda: noted(sample, "bizq-doorbells:real:2"))


def test_a_message_that_always_fails_reaches_the_dead_letter_queue(sample: Workerd) -> None:
    sample.send("DOORBELLS", [{"body": {"name": "poison", "raise": "always"}}])
    eventually(lambda: noted(sample, "bizq-dead-letters:poison:1"))


def test_the_cron_trigger_fires(sample: Workerd) -> None:
    assert sample.tick("*/5 * * * *", at_ms=1_700_000_000_000) == "ok"
    assert noted(sample, "tick") == ["*/5 * * * *", 1_700_000_000_000]


# --- stores -------------------------------------------------------------------------------------------


def test_d1_is_seen_past_python_with_its_counts(sample: Workerd) -> None:
    database = sample.database("DB")
    database.run("CREATE TABLE counted (id INTEGER PRIMARY KEY, name TEXT)")
    answer = database.full("INSERT INTO counted (name) VALUES (?1), (?2) RETURNING id", "a", None)
    assert answer["results"] == [{"id": 1}, {"id": 2}]
    assert (answer["meta"]["changes"], answer["meta"]["rows_written"]) == (2, 2)
    with pytest.raises(WorkerdError, match="no such table"):
        database.batch([("DELETE FROM counted", ()), ("SELECT * FROM nowhere", ())])
    assert len(database.run("SELECT * FROM counted")) == 2


def test_migrations_are_applied_in_order_each_as_one(sample: Workerd, tmp_path: Path) -> None:
    (tmp_path / "0002_b.sql").write_text("INSERT INTO migrated VALUES ('a;b');\n-- the end\n")
    (tmp_path / "0001_a.sql").write_text(
        "CREATE TABLE migrated (x);\nCREATE TRIGGER t AFTER INSERT ON migrated BEGIN DELETE FROM migrated; END;"
    )
    sample.database("DB").migrate(tmp_path)
    assert sample.database("DB").run("SELECT * FROM migrated") == []


def test_kv_and_r2_can_be_read_and_written(sample: Workerd) -> None:
    sample.kv("STATUS", "put", "k", "v", {"metadata": {"m": 1}})
    assert sample.kv("STATUS", "get", "k")["metadata"] == {"m": 1}
    assert "k" in [entry["name"] for entry in sample.kv("STATUS", "list")["keys"]]
    sample.r2("BLOBS", "put", "b", b"\x00\xff")
    assert base64.b64decode(sample.r2("BLOBS", "get", "b")["value"]) == b"\x00\xff"
    assert [entry["key"] for entry in sample.r2("BLOBS", "list")] == ["b"]
    sample.r2("BLOBS", "delete", "b")
    assert sample.r2("BLOBS", "get", "b") is None


def test_the_command_that_a_developer_runs_works(
    toolchain: Toolchain, site: Path, configuration: Configuration, tmp_path: Path
) -> None:
    """An HTTP server, a clock that ticks by itself, and stores that outlive the process."""
    source = below(HERE / "sample")
    persisted = Options(persist=tmp_path / "state", cron_every_s=0.05, intercept=False)
    with Workerd(source, site, configuration, toolchain=toolchain, options=persisted) as first:
        with urlopen(f"{first.info['url']}hello") as reply:  # noqa: S310  # loopback
            assert json.load(reply)["method"] == "GET"
        eventually(lambda: noted(first, "tick"))
        first.database("DB").run("CREATE TABLE kept AS SELECT 7 AS seven")
        pid = first.pid
    assert not _lives(pid)
    with pytest.raises(WorkerdError, match="not running"):
        first.fetch("GET", "/")
    with Workerd(source, site, configuration, toolchain=toolchain, options=persisted) as second:
        assert second.database("DB").run("SELECT * FROM kept") == [{"seven": 7}]
        assert second.kv("STATUS", "get", "tick")["value"]


# --- the network --------------------------------------------------------------------------------------


def test_rules_answer_in_order_and_are_used_up(sample: Workerd) -> None:
    sample.rules(
        {"url": f"{EXAMPLE}/jobs", "status": 429, "body": b"later", "times": 1},
        {"url": EXAMPLE, "body": b"fine"},
    )
    sample.outgoing()
    assert [call(sample, f"{EXAMPLE}/jobs") for _ in range(2)] == [
        {"status": 429, "text": "later"},
        {"status": 200, "text": "fine"},
    ]
    assert [(sent["method"], sent["url"]) for sent in sample.outgoing()] == [("GET", f"{EXAMPLE}/jobs")] * 2


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        ({"reset": "headers"}, "ConnectError"),
        ({"reset": "body", "body": b"abcdef"}, "ReadError"),
        ({"delay": 5}, "ConnectTimeout"),
        ({"body": b"abcdef", "body_delay": 5}, "ReadTimeout"),
    ],
)
def test_the_network_can_misbehave(sample: Workerd, rule: dict[str, object], error: str) -> None:
    sample.rules({"url": EXAMPLE, **rule})
    assert call(sample, f"{EXAMPLE}/x") == {"error": error}


def test_nothing_beyond_loopback_is_reached(sample: Workerd) -> None:
    sample.rules()
    assert call(sample, f"{EXAMPLE}/x") == {"status": 599, "text": f"no rule for GET {EXAMPLE}/x"}


# --- inside -------------------------------------------------------------------------------------------


def test_pytest_inside_reports_each_outcome(sample: Workerd) -> None:
    report = pytest_inside.run(sample, ["tests/outcomes.py"])
    outcomes = {name.rpartition("::")[2]: result.outcome for name, result in report.tests.items()}
    assert outcomes == {
        "test_passes[1]": "passed",
        "test_passes[2]": "passed",
        "test_fails": "failed",
        "test_is_skipped": "skipped",
    }
    failure = report.tests["tests/outcomes.py::test_fails"].text
    assert "assert 1 == 2" in failure
    assert "seen" in failure
    assert len(report.of("tests/outcomes.py::test_passes")) == 2


def test_pytest_inside_reports_what_it_cannot_collect(sample: Workerd) -> None:
    report = pytest_inside.run(sample, ["tests/broken.py"])
    assert (report.status, report.tests) == (2, {})
    assert "No module named 'nowhere'" in report.errors[0]


# --- life and death -----------------------------------------------------------------------------------


def test_a_worker_that_wants_randomness_at_import_is_refused(
    toolchain: Toolchain, site: Path, configuration: Configuration
) -> None:
    source = {"worker.py": "import uuid\nTOKEN = uuid.uuid4()\n"}
    with pytest.raises(WorkerdError, match=r"Cloudflare refuses.*: uuid < worker"):
        Workerd(source, site, configuration, toolchain=toolchain).start()


def test_a_worker_that_cannot_be_imported_says_why(
    toolchain: Toolchain, site: Path, configuration: Configuration
) -> None:
    with pytest.raises(WorkerdError, match="No module named 'nowhere'"):
        Workerd({"worker.py": "import nowhere"}, site, configuration, toolchain=toolchain).start()


def test_the_worker_ends_when_its_owner_is_killed(toolchain: Toolchain) -> None:
    """A killed owner leaves only closed pipes, which Node must notice."""
    command = [str(toolchain.node), str(HERE / "js" / "host.mjs")]
    owner = f"""
import subprocess, sys
child = subprocess.Popen({command!r}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
print(child.pid, flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", owner], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.kill()
    try:
        eventually(lambda: not _lives(child))
    finally:
        if _lives(child):
            os.killpg(child, signal.SIGKILL)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie that is not collected yet has ended.
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(done.stdout.strip()) and not done.stdout.startswith("Z")


def test_a_missing_tool_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BIZQ_NODE_MODULES", str(tmp_path))
    with pytest.raises(MissingToolError, match="make setup"):
        Toolchain.find()


def test_statements_are_split_where_they_end() -> None:
    script = """-- first
CREATE TABLE a (x TEXT DEFAULT ';');
CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM a; END;
-- last
"""
    assert [statement[:15] for statement in split_statements(script)] == [
        "-- first\nCREATE",
        "CREATE TRIGGER ",
    ]
    with pytest.raises(ValueError, match="within a statement"):
        split_statements("SELECT 1; SELECT 'open;")
