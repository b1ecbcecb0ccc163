"""Profiles and their secrets."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from consumer.core.errors import BadInput
from consumer.core.profile import Account, Price, Profile, accounts, secrets_named

KEY, SIGNING = "sk-never-show-me", "whsec_never-show-me"
GATEWAY = "gw-never-show-me"
SECRETS = {"OPENAI_KEY": KEY, "OPENAI_HOOK": SIGNING, "GATEWAY_KEY": GATEWAY, "EMPTY": ""}
OPENAI = {
    "provider": "openai_compatible",
    "base_url": "https://api.example/v1",
    "key": "OPENAI_KEY",
    "webhook_secret": "OPENAI_HOOK",
    "headers": {"x-team": "blue"},
    "secret_headers": {"x-gateway": "GATEWAY_KEY"},
}


def problems(profiles: object, secrets: dict[str, str] | None = None) -> dict[str, str]:
    with pytest.raises(BadInput) as refused:
        accounts(profiles, SECRETS if secrets is None else secrets)
    return {problem.field: problem.message for problem in refused.value.problems}


def test_an_account_has_the_values_of_the_secrets_that_its_profile_names() -> None:
    found = accounts({"openai": OPENAI, "echo": {"provider": "echo"}}, SECRETS)
    assert (found["openai"].key, found["openai"].webhook_secret) == (KEY, SIGNING)
    assert found["openai"].headers == {"x-team": "blue", "x-gateway": GATEWAY}
    assert found["echo"] == Account("echo", Profile(provider="echo"))


def test_secrets_are_never_shown() -> None:
    found = accounts({"openai": OPENAI}, SECRETS)
    for shown in (repr(found), str(found), f"{found['openai']!r}", repr(found["openai"].profile)):
        assert "never-show-me" not in shown
        assert "OPENAI_KEY" in shown


@pytest.mark.parametrize("field", ["key", "webhook_secret"])
@pytest.mark.parametrize("name", ["NOT_THERE", "EMPTY"])
def test_a_missing_secret_is_named(field: str, name: str) -> None:
    named = {**OPENAI, field: name}
    assert problems({"openai": named}) == {
        f"profiles.openai.{field}": f"the deployment has no secret named {name}"
    }


@pytest.mark.parametrize("name", ["NOT_THERE", "EMPTY"])
def test_a_missing_secret_of_a_header_is_named(name: str) -> None:
    named = {**OPENAI, "secret_headers": {"x-gateway": name}}
    assert list(problems({"openai": named})) == ["profiles.openai.secret_headers.x-gateway"]


@pytest.mark.parametrize("profiles", [None, [], "x", 7])
def test_profiles_must_be_an_object(profiles: object) -> None:
    assert list(problems(profiles)) == ["profiles"]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"provider": None}, ".provider"),
        ({"provider": "Open AI"}, ".provider"),
        ({"base_url": "ftp://x"}, ".base_url"),
        ({"base_url": "https://x y"}, ".base_url"),
        ({"key": KEY}, ".key"),
        ({"webhook_secret": "$HOOK"}, ".webhook_secret"),
        ({"headers": {"x": 1}}, ".headers.x"),
        ({"secret_headers": {"x": KEY}}, ".secret_headers.x"),
        ({"organizations": ["x"]}, ".organizations[0]"),
        ({"price": {"per_task": "-1"}}, ".price.per_task"),
        ({"price": {"per_task": "NaN"}}, ".price.per_task"),
        ({"price": {"per_token": "1"}}, ".price.per_token"),
        ({"price": {}, "price_book": "openai"}, ""),
        ({"api_key": KEY}, ".api_key"),
    ],
)
def test_a_wrong_field_is_named(wrong: dict[str, Any], field: str) -> None:
    found = problems({"p": OPENAI | wrong})
    assert list(found) == [f"profiles.p{field}"]
    assert "never-show-me" not in str(found)


def test_a_profile_that_is_not_an_object_is_named() -> None:
    assert list(problems({"p": "echo"})) == ["profiles.p"]


def test_a_price_of_zero_is_a_price() -> None:
    assert Profile(provider="echo", price=Price()).price == Price(per_task=Decimal(0))
    assert Profile(provider="echo").price is None


def test_the_names_of_all_secrets_are_found_in_unchecked_profiles() -> None:
    odd: dict[str, Any] = {"b": {"key": "B"}, "c": {"key": 7, "secret_headers": "x"}, "d": "x"}
    assert secrets_named({"a": OPENAI, **odd}) == {"OPENAI_KEY", "OPENAI_HOOK", "GATEWAY_KEY", "B"}
    assert secrets_named([OPENAI]) == set()
