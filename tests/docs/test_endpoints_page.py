"""docs/endpoints.md says what the adapter `webhook` sends and understands."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import httpx2
import pytest

from consumer.core import outcome
from consumer.core.profile import accounts
from consumer.provider import Reply, Verb
from providers import PROVIDERS
from providers.webhook import Webhook
from scripts.stage import ROOT
from tests.support.adapters import make_call
from tests.support.documents import tables
from tests.support.endpoint import NEW, OLD

PAGE: Final = ROOT / "docs" / "endpoints.md"
WEBHOOK: Final = PROVIDERS["webhook"]
(EXAMPLE,) = re.findall(r"```python endpoint\n(.*?)```", PAGE.read_text(), re.DOTALL)
BLOCKS: Final = re.findall(r"```json (\w+)\n(.*?)```", PAGE.read_text(), re.DOTALL)
REPORTS: Final = [(kind, text) for kind, text in BLOCKS if kind != "profile"]


@pytest.mark.parametrize(("kind", "text"), REPORTS)
def test_each_report_of_the_page_means_its_outcome(kind: str, text: str) -> None:
    verb = Verb.CANCEL if "cancelled" in text else Verb.SUBMIT
    call = make_call(WEBHOOK)

    for found in (
        WEBHOOK.reply(call, verb, Reply(200, {}, text.encode())),
        WEBHOOK.read_webhook(call, text.encode()),
    ):
        assert type(found) is getattr(outcome, kind)


def test_every_kind_of_report_is_on_the_page() -> None:
    known = set(re.findall(r'"task\.(\w+)"', (ROOT / "providers" / "webhook.py").read_text()))
    named = set(re.findall(r"task\.(\w+)", PAGE.read_text()))
    assert known == named


def test_the_profile_of_the_page_is_accepted() -> None:
    ((_, text),) = [block for block in BLOCKS if block[0] == "profile"]
    (account,) = accounts(json.loads(text), {"CLINIC_HOOK": OLD}).values()

    WEBHOOK.check(account)
    variant = WEBHOOK.of(account)
    assert isinstance(variant, Webhook)
    assert variant.kind == "human"


def test_every_field_of_a_task_has_a_row() -> None:
    request: Any = WEBHOOK.request(make_call(WEBHOOK), Verb.SUBMIT)
    rows = tables(PAGE, "What the endpoint receives")[1]

    named = {name for row in rows for name in re.findall(r"`(\w+)`", row["field"])}
    assert named == set(json.loads(request.content)["data"])


# --- the small endpoint ----------------------------------------------------------------------------------------------


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server of this handler on loopback; its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that the endpoint of the page defines."""
    monkeypatch.setenv("CLINIC_HOOK", OLD)
    names: dict[str, Any] = {"__name__": "endpoint"}
    exec(compile(EXAMPLE, str(PAGE), "exec"), names)  # noqa: S102  # it is the page's own example
    return names


def asked(address: str, secret: str = OLD, **changes: Any) -> Any:
    """A call to the endpoint at the real time, which its library compares with."""
    profile = {
        "provider": "webhook",
        "base_url": address,
        "webhook_secret": "HOOK",
        "options": {"kind": "human", "private_network": True},
    }
    (account,) = accounts({"clinic": profile}, {"HOOK": secret}).values()
    WEBHOOK.check(account)
    return make_call(WEBHOOK, account=account, now_ms=int(time.time() * 1000), **changes)


def exchanged(call: Any, verb: Verb = Verb.SUBMIT) -> Any:
    request = WEBHOOK.request(call, verb)
    assert isinstance(request, httpx2.Request)
    with httpx2.Client(trust_env=False) as client:
        response = client.send(request)
    return WEBHOOK.reply(call, verb, Reply(response.status_code, response.headers, response.content))


def test_the_small_endpoint_answers_accepts_and_cancels(small: dict[str, Any]) -> None:
    with listening(small["Endpoint"]) as address:
        assert exchanged(asked(address, value={"city": "Paris"})) == outcome.Succeeded({"city": "Paris"})
        assert isinstance(exchanged(asked(address)), outcome.Accepted)
        assert list(small["WAITING"]) == [asked(address).key]
        assert exchanged(asked(address), Verb.CANCEL) == outcome.Failed("cancelled")
        assert small["WAITING"] == {}
        assert exchanged(asked(address, NEW)) == outcome.Retry("http_401", account="refused_key")


def test_the_small_endpoint_calls_back(small: dict[str, Any]) -> None:
    got: list[tuple[dict[str, str], bytes]] = []

    class Worker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            got.append((headers, self.rfile.read(int(headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    with listening(Worker) as address:
        small["call_back"]({"id": "bizq-1-a", "callback_url": f"{address}/webhooks/clinic"}, {"city": "Rome"})
        ((headers, body),) = got
        call = asked(address)

    assert WEBHOOK.verify_webhook(call.account, headers, body, call.now_ms).id == "done-bizq-1-a"
    assert WEBHOOK.read_webhook(call, body) == outcome.Succeeded({"city": "Rome"})
