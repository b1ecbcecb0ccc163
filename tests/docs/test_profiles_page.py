"""docs/profiles.md says what the code does: fields, defaults, environment variables, examples."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import pytest
from genai_prices.data_snapshot import get_snapshot

from consumer.core.errors import BadInput
from consumer.core.profile import Account, Price, Profile, Rate, accounts, secrets_named
from consumer.provider import Verb
from providers import PROVIDERS
from scripts.stage import ROOT
from tests.support.adapters import make_call
from tests.support.documents import sections, tables

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel

PAGE: Final = ROOT / "docs" / "profiles.md"
SECTIONS: Final = sections(PAGE)


SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""Any secret; one for webhooks must have this form."""


def examples(kind: str = "json") -> list[dict[str, Any]]:
    """The objects of profiles that the page shows."""
    return [json.loads(text) for text in re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(), re.DOTALL)]


def default(model: type[BaseModel], field: str) -> str:
    """The default of a field, as the page writes it."""
    info = model.model_fields[field]
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    if value is None:
        return "none"
    return str(value) if isinstance(value, Decimal) else "empty"


@pytest.mark.parametrize(
    ("model", "column", "number"), [(Profile, "field", 0), (Price, "price", 1), (Rate, "rate", 2)]
)
def test_every_field_has_a_row_with_its_default(model: type[BaseModel], column: str, number: int) -> None:
    rows = tables(PAGE, "Fields")[number]

    assert {row[column].strip("`"): row["default"] for row in rows} == {
        name: default(model, name) for name in model.model_fields
    }


def test_every_environment_variable_has_a_row() -> None:
    sources = "".join(file.read_text() for file in sorted((ROOT / "consumer").rglob("*.py")))
    read = set(re.findall(r"""(?:envvar=|environ\.get\(|environ\[)"([A-Z_]+)\"""", sources))
    (rows,) = tables(PAGE, "On one machine")

    assert {row["environment variable"].strip("`") for row in rows[1:]} == read


@pytest.mark.parametrize("profiles", [*examples(), *examples("json first")], ids="-".join)
def test_every_example_is_accepted(profiles: dict[str, Any]) -> None:
    for account in accounts(profiles, dict.fromkeys(secrets_named(profiles), SECRET)).values():
        PROVIDERS[account.profile.provider].check(account)
        book = account.profile.price_book
        assert book is None or book in {provider.id for provider in get_snapshot().providers}


def test_the_examples_use_every_field() -> None:
    used = {name for found in examples() for profile in found.values() for name in profile}
    assert used == set(Profile.model_fields)
    named = {name for found in examples() for name in found}
    assert named >= {"groq", "openrouter", "vllm", "ollama", "litellm", "cloudflare", "openai"}


def test_a_new_data_directory_begins_with_the_profiles_of_the_page(tmp_path: Path) -> None:
    from consumer.cli.host import prepare
    from consumer.local.layout import Layout

    layout = Layout(tmp_path / "data")
    prepare(layout, create=True)

    assert [json.loads(layout.profiles.read_text())] == examples("json first")


def test_headers_of_the_profile_replace_those_of_the_adapter() -> None:
    adapter = PROVIDERS["openai_compatible"]
    profile = Profile(
        provider=adapter.name, base_url="https://ai.example.com/v1/", headers={"Accept": "text/plain"}
    )
    account = Account("test", profile, key="key", secret_headers={"Authorization": "Basic secret"})

    request: Any = adapter.request(make_call(adapter, account=account), Verb.SUBMIT)

    assert (request.headers["accept"], request.headers["authorization"]) == ("text/plain", "Basic secret")
    assert str(request.url) == "https://ai.example.com/v1/chat/completions"


def test_a_price_and_a_price_book_together_are_refused() -> None:
    both = {"groq": {"provider": "openai_compatible", "price": {}, "price_book": "groq"}}
    with pytest.raises(BadInput, match="not both"):
        accounts(both, {})


def test_the_adapters_of_the_page_are_those_that_there_are() -> None:
    (row,) = [row for row in tables(PAGE, "Fields")[0] if row["field"] == "`provider`"]
    assert set(re.findall(r"`(\w+)`", row["meaning"])) == set(PROVIDERS)
