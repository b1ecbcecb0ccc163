"""`--target`: the same commands over HTTP, with the same output, and what is refused there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from consumer.cli.group import Failure, bizq
from consumer.cli.remote import Api, RemoteClient, RemoteReader
from consumer.cli.target import Remote
from consumer.local.database import SqliteDatabase
from consumer.local.layout import Layout
from consumer.ports import Statement
from tests.cli.conftest import ECHO, Cli, Done, lines, put, submit
from tests.cli.test_dev import dev, until

HELLO = {"template": "echo-title", "title": "Hello"}
UNUSED = "http://127.0.0.1:9"


class Away(Cli):
    """Calls `bizq` without `--data`: the environment says the target and the key."""

    def __call__(self, *args: object) -> Done:
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            bizq.main([*map(str, args)])
        output = self._capsys.readouterr()
        return Done(int(ended.value.code or 0), output.out, output.err)


@pytest.fixture
def away(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Away:
    """No worker answers at this target."""
    monkeypatch.delenv("BIZQ_DATA", raising=False)
    monkeypatch.setenv("BIZQ_TARGET", UNUSED)
    monkeypatch.setenv("BIZQ_KEY", "bizq_0123456789ab_0")
    return Away(tmp_path, capsys)


@pytest.fixture
def served(cli: Cli, away: Away, monkeypatch: pytest.MonkeyPatch) -> Iterator[Away]:
    """A worker that serves the data of `cli`, asked with an admin's key."""
    with dev(cli.data) as (_, url):
        monkeypatch.setenv("BIZQ_TARGET", f"{url}/")
        monkeypatch.setenv("BIZQ_KEY", cli.json("key", "create", "--role", "admin")["key"])
        yield away


@pytest.fixture
def operator(cli: Cli, tmp_path: Path) -> tuple[str, str]:
    """The options of a command that an operator gives."""
    file = tmp_path / "operator-key"
    file.write_text(cli.fine("key", "create", "--role", "operator").out)
    return ("--key-file", str(file))


def test_each_command_says_the_same_as_on_the_data(served: Away, cli: Cli, tmp_path: Path) -> None:
    assert submit(served, tmp_path, HELLO, {"template": "ask", "title": "Yes?", "assigned_to": 1}) == [
        {"id": 1, "status": "pending", "created": True},
        {"id": 2, "status": "pending", "created": True},
    ]
    assert served.fine("watch", "1", "--timeout", "30").out.splitlines()[-1].startswith("task 1: completed")
    until(cli.data, 2, "waiting")
    for command in ("status", "status 1", "status 2", "show 1", "show 2", "inbox", "inbox --user 1", "cost"):
        words = command.split()
        assert served.fine(*words).out == cli.fine(*words).out
        assert served.json(*words) == cli.json(*words)
    assert served.json("cancel", "2") == {"id": 2, "status": "cancelled"}
    assert served.json("retry", "1") == {"id": 3, "status": "pending", "created": True, "retry_of": 1}
    assert served.fine("budget", "put", "2", "--template", "1", "--period", "total").out == (
        "budget 1: $2.000000 in total for template 1\n"
    )
    assert served.fine("budget", "put", "3", "--org", "1").out.startswith("budget 2: $3.000000 a month")
    assert served.fine("doctor").out.startswith("ok       http://127.0.0.1:")


def test_setting_up_is_the_same_as_on_the_data(
    served: Away, cli: Cli, operator: tuple[str, ...], tmp_path: Path
) -> None:
    """Each command once over HTTP and once here: the answers differ in the number of what was made, and no more."""
    for command in ("org create {}", "user create {}@b.example A --org Fjord"):
        away = served.json(*command.format("away").split(), *operator)
        here = cli.json(*command.format("here").split())
        assert here["id"] > away["id"]
        assert json.loads(json.dumps(away).replace("away", "here")) == {**here, "id": away["id"]}
    file = tmp_path / "another.json"
    file.write_text(json.dumps(ECHO | {"name": "another"}))
    made = served.json("template", "put", file)
    assert made == {"id": 3, "organization": 1, "name": "another", "created": True}
    for ask, key in ((served, ()), (cli, ("--org", "Fjord")), (served, (*operator, "--org", "1"))):
        assert ask.json("template", "put", file, *key) == {**made, "created": False}
    assert served.fine("adopt").out == cli.fine("adopt").out == "0 tasks may run now\n"
    assert served.fine("doctor", *operator).out == cli.fine("doctor").out
    assert "role operator" in served.refused("org", "create", "Oslo")


def test_tasks_that_are_older_than_the_installation(served: Away, cli: Cli, tmp_path: Path) -> None:
    submit(served, tmp_path, HELLO | {"run_at": "2040-01-01"}, HELLO | {"run_at": "2040-01-01"})
    database = SqliteDatabase(Layout(cli.data).database)
    database.run([Statement("UPDATE tasks SET blocked_by = 'adopt', run_at_ms = 9007199254740990", ())])
    database.close()
    assert "run `bizq adopt`" in served.json("show", "1")["why"]
    assert served.fine("adopt").out == "2 tasks may run now\n"
    assert served.fine("watch", "1", "--timeout", "30").out.splitlines()[-1].startswith("task 1: completed")


def test_an_operator_says_for_whom(served: Away, cli: Cli, operator: tuple[str, ...], tmp_path: Path) -> None:
    file = lines(tmp_path, HELLO)
    assert served.json("submit", file, *operator)[0]["id"] == 1  # there is no other organization
    cli.fine("org", "create", "Linden")
    assert "name the organization with --org" in served.refused("submit", file, *operator)
    assert served.json("submit", file, *operator, "--org", "1")[0]["id"] == 2
    assert "no organization 7" in served.refused("submit", file, *operator, "--org", "7")
    assert served.json("cost", "--org", "Fjord")["costs"] == cli.json("cost", "--org", "Fjord")["costs"]
    assert served.json(*operator, "tick")["leases"] == 0
    assert served.json(*operator, "stop", "a test")["reason"] == "a test"
    assert served.json(*operator, "resume") == {"resumed": True}
    assert "role operator" in served.refused("stop", "not allowed")
    assert "role operator" in served.refused("tick")


def test_a_refusal_names_the_field(served: Away, tmp_path: Path) -> None:
    output = served.refused("submit", lines(tmp_path, HELLO, {"template": "nothing", "title": "x"}))
    assert output.splitlines()[0].startswith("bizq: line 2: template: this organization has no template")
    assert served.refused("budget", "put", "many", "--org", "1").startswith("bizq: cap: ")
    assert served.refused("submit", lines(tmp_path, HELLO | {"assigned_to": "who@fjord.example"})).startswith(
        "bizq: line 1: assigned_to: this organization has no user who@fjord.example"
    )
    assert (
        served.refused("show", "99")
        == "bizq: no task 99; `bizq status` counts the tasks that this key may see\n"
    )
    assert (
        served.refused("status", "99")
        == "bizq: no task 99; `bizq status` counts the tasks that this key may see\n"
    )
    refusal = served.refused("status", "--key", "bizq_0_0")
    assert "refused the key" in refusal
    assert "with `bizq key create` on its machine or, for Cloudflare, as docs/deploy.md describes" in refusal


def test_a_file_for_several_organizations(
    served: Away, cli: Cli, operator: tuple[str, ...], tmp_path: Path
) -> None:
    """Names of organizations, templates and people are looked up by the worker that has them."""
    cli.fine("org", "create", "Linden")
    put(cli, tmp_path, ECHO, "--org", "Linden")
    theirs = HELLO | {"organization": "Linden"}
    file = lines(tmp_path, HELLO | {"organization": "Fjord", "assigned_to": "marta@fjord.example"}, theirs)
    assert len(served.json("submit", file, *operator)) == 2
    assert len(cli.json("submit", file)) == 2
    output = served.fine("submit", file, "--org", "Fjord").out
    assert output == "1 tasks submitted, 1 lines of other organizations skipped: 5\n"
    refusal = served.refused("submit", file)
    assert (
        refusal.splitlines()[0]
        == "bizq: line 2: organization: must be 1 or absent, because the key is for organization 1"
    )
    wrong = lines(tmp_path, theirs, theirs | {"organization": "Oslo"})
    for ask, key in ((served, operator), (cli, ())):
        output = ask.refused("submit", wrong, *key)
        assert output.splitlines()[0] == "bizq: line 2: organization: no organization Oslo"
    assert cli.json("status")["total"] == 5


@pytest.mark.parametrize("command", ["key create", "key revoke x", "demo", "dev"])
def test_what_cannot_be_done_over_http_says_so(away: Away, command: str) -> None:
    for output in (away.refused(*command.split()), away.refused(*command.split(), "--target", UNUSED)):
        assert "works on this machine only, not over HTTP" in output
        assert len(output.splitlines()) == 1


class TestWhoIsAsked:
    def test_no_worker_answers(self, away: Away) -> None:
        output = away.refused("status")
        assert output.startswith(f"bizq: nothing answers at {UNUSED}")
        assert "start a worker there (here: `bizq dev`), or correct --target" in output

    def test_typed_data_goes_before_the_environment(self, away: Away, cli: Cli) -> None:
        assert away.fine("status", "--data", cli.data).out == "0 tasks\n"
        assert "not both" in away.refused("status", "--data", cli.data, "--target", UNUSED)

    def test_a_key_is_needed_but_not_for_health(
        self, away: Away, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.delenv("BIZQ_KEY")
        assert "put it into BIZQ_KEY" in away.refused("status")
        assert "nothing answers" in away.refused("doctor")
        assert "not both" in away.refused("status", "--key", "a", "--key-file", lines(tmp_path))

    @pytest.mark.parametrize("key", ["two words", "größe", "a\nb"])
    def test_what_cannot_be_a_key(self, away: Away, key: str) -> None:
        assert "a single word" in away.refused("status", "--key", key)

    @pytest.mark.parametrize(
        ("url", "why"),
        [
            ("example.com", "not an address"),
            ("ftp://example.com", "not an address"),
            ("https://example.com/?a=1", "not an address"),
            ("https://user:secret@example.com", "a user's name"),
            ("http://example.com", "use https"),
        ],
    )
    def test_what_cannot_be_a_target(self, away: Away, url: str, why: str) -> None:
        assert why in away.refused("status", "--target", url)

    def test_the_key_is_not_shown_by_accident(self) -> None:
        assert "secret" not in repr(Remote("https://example.com", "secret"))


# --- replies that a healthy worker does not give ----------------------------------------------------------


def api(answer: Callable[[httpx2.Request], httpx2.Response]) -> Api:
    return Api(Remote("https://tasks.example", "k"), httpx2.MockTransport(answer))


def problem(status: int, name: str, detail: str, **more: Any) -> httpx2.Response:
    return httpx2.Response(status, json={"type": f"/problems#{name}", "detail": detail, **more})


async def test_the_doctor_reads_what_is_wrong() -> None:
    errors = [{"field": "database", "message": "trigger a is missing"}]

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/v1/doctor":
            return problem(403, "forbidden", "this needs a key with the role operator")
        return problem(503, "unhealthy", "2 problems", errors=errors)

    sick = RemoteClient(api(answer))
    (found,) = await sick.examine()
    assert (found["level"], found["what"]) == ("error", "trigger a is missing")
    away = RemoteClient(api(lambda _: problem(503, "unavailable", "D1 is away")))
    with pytest.raises(Failure, match="cannot work now: D1 is away"):
        await away.examine()


@pytest.mark.parametrize("status", [200, 302, 404, 502])
async def test_another_server_is_recognized(status: int) -> None:
    client = RemoteClient(api(lambda _: httpx2.Response(status, text="<h1>hello</h1>")))
    with pytest.raises(Failure, match=f"answered {status}, not as BizQ does"):
        await client.history(1)


@pytest.mark.parametrize(
    ("error", "output"),
    [
        (httpx2.ReadTimeout("slow"), "does not answer in time, but the change may have been made"),
        (httpx2.ReadError("reset"), "broke .reset., but the change may have been made"),
    ],
)
async def test_a_change_without_an_answer_is_in_doubt(error: Exception, output: str) -> None:
    def answer(_: httpx2.Request) -> httpx2.Response:
        raise error

    with pytest.raises(Failure, match=output):
        await RemoteClient(api(answer)).retry(1)


def test_a_status_is_asked_with_its_tag_and_never_goes_back() -> None:
    asked: list[str | None] = []
    versions = iter([3, 3, 2, 4])

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.headers.get("if-none-match"))
        tag = f'W/"{next(versions)}"'
        if tag == asked[-1]:
            return httpx2.Response(304, headers={"ETag": tag})
        return httpx2.Response(200, headers={"ETag": tag}, json={"version": int(tag[3:-1])})

    reader = RemoteReader(api(answer))
    assert [reader.task(1)["version"] for _ in range(4)] == [3, 3, 3, 4]
    assert asked == [None, 'W/"3"', 'W/"3"', 'W/"3"']
    reader.close()


async def test_a_reader_gets_no_links() -> None:
    from consumer.cli.tasks import assignment

    row = {
        "task_id": 1,
        "kind": "human",
        "title": "Yes?",
        "assigned_to": None,
        "resolve_by_ms": None,
    }
    client = RemoteClient(
        api(lambda _: httpx2.Response(200, json={"assignments": [row], "total": 1, "cursor": None}))
    )
    (found,) = await client.inbox(None, None)
    assert assignment(found).endswith("no link: a reader's key gets none")
