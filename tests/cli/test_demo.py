"""`bizq demo` with a stand-in for the model: quick, and its prices are unknown."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from consumer.cli.host import read_profiles
from consumer.local.layout import Layout
from tests.cli.conftest import Cli
from tests.cli.test_commands import sql

ANSWERS = {
    "sentiment": "positive",
    "name": "Ada Lovelace",
    "order_number": "FO-12345",
    "product": "Tent",
    "patient": "Ada Lovelace",
    "day": "Monday",
    "time": "9:30",
    "summary": "Everything that was planned for this week was done.",
    "reply": "Thank you for your message. We will look into this today.",
}


class Model(BaseHTTPRequestHandler):
    """Answers whatever field it is asked for."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        fields = asked["response_format"]["json_schema"]["schema"]["properties"]
        content = json.dumps({name: ANSWERS[name] for name in fields})
        reply = {
            "model": asked["model"],
            "choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        }
        body = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def model_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def test_another_server_for_the_model(empty: Cli, model_url: str) -> None:
    """Two runs: the second adds the same tasks once more, and each sums up its own."""
    last = "demo: 24 tasks, 18 completed, 6 waiting for people, 0 failed, cost unknown"
    for run in (1, 2):
        done = empty.fine("demo", "--model-url", model_url, "--model-name", "stand-in")
        assert done.out.splitlines()[-1] == last
        assert f"model     stand-in at {model_url}" in done.out
        assert empty.json("status") == {
            "total": 24 * run,
            "tasks": {"completed": 18 * run, "waiting": 6 * run},
            "more": False,
        }
    assert sql(empty, "SELECT count(*) AS n FROM organizations") == [{"n": 2}]
    assert sql(empty, "SELECT count(*) AS n FROM task_templates") == [{"n": 8}]
    assert sql(empty, "SELECT count(*) AS n FROM users") == [{"n": 3}]
    assert len(empty.json("inbox")) == 12
    assert [row["unknown"] for row in empty.json("cost")["costs"]] == [40, 0]
    assert read_profiles(Layout(empty.data))["local"]["base_url"] == model_url


def test_for_programs(empty: Cli, model_url: str) -> None:
    done = empty("demo", "--model-url", model_url, "--json")
    assert done.code == 0
    assert done.json["completed"] == 18
    assert len(done.json["inbox"]) == done.json["waiting"] == 6
    assert done.json["cost_micro"] is None
    assert "24 submitted" in done.err


def test_without_a_model_it_says_what_else_there_is(empty: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.local.model.find_spec", lambda _name: None)
    for command in (("demo",), ("dev", "--port", "0", "--model")):
        assert "use any server that speaks OpenAI's API with --model-url" in empty.refused(*command)


def test_what_fails_is_said(empty: Cli) -> None:
    """A server that is not there: the tasks are tried again, until the time is over."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("consumer.cli.dev.demo.LIMIT_S", 1.0)
        done = empty("demo", "--model-url", "http://127.0.0.1:9/v1")
    assert done.code == 1
    assert "tasks are not done" in done.out
    assert done.out.splitlines()[-1].startswith(
        "demo: 24 tasks, 0 completed, 4 waiting for people, 0 failed, cost "
    )
