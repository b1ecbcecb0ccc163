"""One cheap real request for each profile: the answers, against servers on loopback."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from consumer.core.profile import accounts
from consumer.local.database import SqliteDatabase
from consumer.ports import Statement
from consumer.provider import Probe, Provider
from consumer.service import probes
from consumer.service.findings import Finding
from consumer.world import World
from tests.service import test_doctor
from tests.support.adapters import make_account
from tests.support.ports import FakeClock
from tests.workerd.loopback import Answer, Loopback, Seen

migrated, database, world = test_doctor.migrated, test_doctor.database, test_doctor.world

SECRET = "sk-very-secret-key-7"
MODELS = {"object": "list", "data": [{"id": "small"}, {"id": "large"}]}

Served = Callable[[Callable[[Seen], Answer]], str]


@pytest.fixture
def served() -> Iterator[Served]:
    """Starts a server that answers as a function says; returns its address."""
    with ExitStack() as stack:
        yield lambda script: stack.enter_context(Loopback(script)).url


def with_profiles(world: World, **profiles: dict[str, Any]) -> World:
    """The world with these profiles, whose secret is always the same."""
    chat = {"provider": "openai_compatible", "key": "KEY"}
    known = accounts({name: chat | profile for name, profile in profiles.items()}, {"KEY": SECRET})
    return replace(world, accounts=known)


async def probed(world: World, **profiles: dict[str, Any]) -> list[Finding]:
    async with httpx2.AsyncClient(trust_env=False) as client:
        return await probes.probe(replace(with_profiles(world, **profiles), http=client))


def lists_models(seen: Seen) -> Answer:
    assert (seen.method, seen.path, seen.body) == ("GET", "/v1/models", b"")
    assert seen.headers["authorization"] == f"Bearer {SECRET}"
    return Answer(json=MODELS)


async def test_a_profile_that_works_is_named_with_its_time_and_its_models(
    world: World, served: Served
) -> None:
    (found,) = await probed(world, chat={"base_url": f"{served(lists_models)}/v1/"})

    assert (found.level, found.what) == ("ok", "profile chat answers in 0 ms and lists 2 models")


@pytest.mark.parametrize(
    ("provider", "path", "header", "listed"),
    [
        ("anthropic", "/v1/models?limit=1000", "x-api-key", {"data": [{"type": "model", "id": "large"}]}),
        ("gemini", "/models?pageSize=1000", "x-goog-api-key", {"models": [{"name": "models/large"}]}),
        ("openai_responses", "/models", "authorization", MODELS),
    ],
)
async def test_each_api_is_asked_for_its_models_with_the_key(
    world: World, served: Served, database: SqliteDatabase, provider: str, path: str, header: str, listed: Any
) -> None:
    stages = {"kind": "ai", "candidates": [{"profile": "it", "settings": {"model": "large"}}]}
    database.run([Statement("UPDATE task_templates SET route = ?1", (json.dumps({"stages": [stages]}),))])
    asked: list[tuple[str, str]] = []

    def answer(seen: Seen) -> Answer:
        asked.append((seen.path, seen.headers[header].removeprefix("Bearer ")))
        return Answer(json=listed)

    (found,) = await probed(world, it={"provider": provider, "base_url": served(answer)})

    assert (found.level, asked) == ("ok", [(path, SECRET)])


@pytest.mark.parametrize(
    ("status", "code", "level", "words"),
    [
        (401, "invalid_api_key", "error", "its provider refuses the key (http_401 invalid_api_key)"),
        (403, "permission_error", "error", "its provider refuses the key (http_403 permission_error)"),
        (402, "402", "error", "its account has no money left (http_402 402)"),
        (429, "insufficient_quota", "error", "its account has no money left (http_429 insufficient_quota)"),
        (404, "", "warning", "answers, but not to the probe: http_404"),
        (500, "", "warning", "answers, but not to the probe: http_500"),
    ],
)
async def test_each_refusal_has_its_own_finding_and_the_key_is_never_shown(
    world: World, served: Served, status: int, code: str, level: str, words: str
) -> None:
    error = {"error": {"message": f"wrong: {SECRET}", "code": code or None}}

    (found,) = await probed(world, chat={"base_url": served(lambda _: Answer(status, json=error))})

    assert (found.level, words in found.what) == (level, True), found
    assert SECRET not in f"{found}"


async def test_a_model_that_a_template_names_and_the_provider_does_not_list_is_reported(
    world: World, database: SqliteDatabase, served: Served
) -> None:
    candidates = [
        {"profile": "chat", "settings": {"model": "small"}},
        {"profile": "chat", "settings": {"model": "gone"}},
        {"profile": "other", "settings": {"model": "elsewhere"}},
    ]
    stages = json.dumps({"stages": [{"kind": "ai", "candidates": candidates}]})
    database.run([Statement("UPDATE task_templates SET route = ?1 WHERE id = 1", (stages,))])

    _, found = await probed(world, chat={"base_url": f"{served(lists_models)}/v1"})

    assert (found.level, found.what) == (
        "warning",
        "profile chat does not list model 'gone', which template 1 names",
    )


async def test_a_profile_that_is_slow_or_silent_or_away_is_reported(
    world: World, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = world.clock
    assert isinstance(clock, FakeClock)
    monkeypatch.setattr(probes, "PROBE_S", 0.3)

    def slow(_: Seen) -> Answer:
        clock.advance(5_000)
        return Answer(json=MODELS)

    (found,) = await probed(world, slow={"base_url": served(slow)})
    away, silent = await probed(
        world,
        silent={"base_url": served(lambda _: Answer(json=MODELS, delay_s=2))},
        away={"base_url": "http://127.0.0.1:9"},
    )

    assert (found.level, found.what) == ("warning", "profile slow answers in 5000 ms and lists 2 models")
    assert away.what == (
        "profile away does not answer: network: 127.0.0.1:9 refused the connection: nothing listens there"
    )
    assert silent.what.startswith(
        "profile silent does not answer: timeout: no answer within 0.3 s from 127.0.0.1:"
    )
    assert (away.level, silent.level) == ("error", "error")


async def test_an_adapter_without_a_probe_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(world.providers["blind"]), "probe", Provider.probe)
    found = await probed(
        world,
        people={"provider": "inbox", "key": None},
        blind={"provider": "blind", "base_url": "http://127.0.0.1:9"},
    )

    assert [each.what for each in found] == [
        "profile blind is not probed: it has no cheap check",
        "profile people is not probed: inbox sends no requests",
    ]


async def test_a_probe_that_costs_something_says_what(
    world: World, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = world.providers["openai_compatible"]
    free = adapter.probe(make_account(adapter, base_url=served(lambda _: Answer(json=MODELS))))
    assert free is not None
    monkeypatch.setattr(type(adapter), "probe", lambda *_: Probe(free.request, "one token"))

    (found,) = await probed(world, chat={"base_url": "http://127.0.0.1:9"})

    assert found.what == "profile chat answers in 0 ms and lists 2 models; the probe costs one token"


@pytest.mark.parametrize("method", ["probe", "read_probe"])
async def test_an_adapter_that_raises_stops_no_other_probe(
    world: World, served: Served, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(type(world.providers["openai_compatible"]), method, broken)
    (found, other) = await probed(
        world,
        chat={"base_url": served(lambda _: Answer(json=MODELS))},
        people={"provider": "inbox", "key": None},
    )

    assert found.what == "profile chat answers, but not to the probe: adapter_error: RuntimeError"
    assert other.level == "ok"
