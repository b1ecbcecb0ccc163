"""docs/providers.md says what the adapters do: settings, defaults, codes, statuses, the steps to a new one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import pytest

from consumer.core import outcome
from consumer.core.described import Description
from consumer.core.refusals import ACCOUNT_CODES, ACCOUNT_STATUSES
from consumer.provider import Reply, Verb
from providers import PROVIDERS, gemini, openai_compatible
from providers.anthropic import AnthropicOptions
from providers.gemini import GeminiOptions
from providers.openai_compatible import ChatOptions
from providers.openai_responses import ResponsesOptions
from providers.webhook import WebhookOptions
from scripts.stage import ROOT
from tests.support.adapters import make_call
from tests.support.documents import sections, tables

if TYPE_CHECKING:
    from pydantic import BaseModel

PAGE: Final = ROOT / "docs" / "providers.md"
CHAT: Final = PROVIDERS["openai_compatible"]
SETTINGS: Final = "Settings in a route"
MEANING: Final = "What a reply means"
TRIED: Final = "How each was tried"


def default(model: type[BaseModel], field: str) -> str:
    """The default of a field, as the page writes it."""
    info = model.model_fields[field]
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "none"
    if isinstance(value, int):
        return str(value)
    return f"`{value}`" if value else "empty"


def test_every_adapter_has_a_row() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", PAGE.read_text().partition("\n## ")[0], re.MULTILINE)
    assert dict(rows) == {name: provider.kind for name, provider in PROVIDERS.items()}


def test_every_adapter_has_a_row_that_says_how_it_was_tried() -> None:
    rows = {row["adapter"].strip("`"): row["tried"] for row in tables(PAGE, TRIED)[0]}
    assert rows == {name: provider.about.tried for name, provider in PROVIDERS.items()}


OPTIONS: Final[dict[str, type[BaseModel]]] = {
    "openai_compatible": ChatOptions,
    "anthropic": AnthropicOptions,
    "gemini": GeminiOptions,
    "openai_responses": ResponsesOptions,
    "webhook": WebhookOptions,
    "http": Description,
}
"""The options of the profiles of each adapter that has some."""

CODES_OF: Final = {
    "openai_compatible": openai_compatible.CODES,
    "gemini": gemini.CODES,
}


def tables_of(adapter: str) -> list[dict[str, str]]:
    """The tables of settings and options below the name of an adapter: each as defaults by name."""
    below = re.split(r"^\*\*(\w+)\*\*", sections(PAGE)[SETTINGS], flags=re.MULTILINE)
    names = below[1::2]
    before = 0
    for name in names:
        number = 1 + (name in OPTIONS)
        if name == adapter:
            found = tables(PAGE, SETTINGS)[before : before + number]
            return [
                {cells[0].strip("`"): cells[1] for cells in map(list, map(dict.values, rows))}
                for rows in found
            ]
        before += number
    pytest.fail(f"no settings of {adapter}")


@pytest.mark.parametrize("adapter", PROVIDERS)
def test_every_setting_has_a_row_with_its_default(adapter: str) -> None:
    models = [PROVIDERS[adapter].settings, *([OPTIONS[adapter]] if adapter in OPTIONS else [])]

    assert tables_of(adapter) == [
        {name: default(model, name) for name in model.model_fields} for model in models
    ]


def test_every_adapter_has_a_table_of_its_settings() -> None:
    assert set(re.findall(r"^\*\*(\w+)\*\*", sections(PAGE)[SETTINGS], re.MULTILINE)) == set(PROVIDERS)


def test_every_outcome_of_an_adapter_has_a_row() -> None:
    made_by_the_worker = {"Invalid", "Rejected"}
    rows = {row["outcome"].strip("`") for row in tables(PAGE, MEANING)[0]}
    assert rows == {kind.__name__ for kind in outcome.Outcome.__args__} - made_by_the_worker


def test_every_code_has_a_row() -> None:
    rows = {
        (row["adapter"], row["code"].strip("`")): row["outcome"].strip("`")
        for row in tables(PAGE, MEANING)[1]
    }
    assert rows == {
        (adapter, code): ending.__name__
        for adapter, codes in CODES_OF.items()
        for code, ending in codes.items()
    }


def test_every_fault_of_an_account_has_a_row() -> None:
    rows = tables(PAGE, MEANING)[2]
    found = {row["code or status"].strip("`"): row["the account"].strip("`") for row in rows}
    assert found == ACCOUNT_CODES | {str(status): fault for status, fault in ACCOUNT_STATUSES.items()}


def documented(status: int) -> str:
    """The outcome of a status, as the rows say: a status that neither of the first two names is in the last."""
    again, failed, unknown = tables(PAGE, MEANING)[3]
    for row in (again, failed):
        if str(status) in re.findall(r"\b\d{3}\b", row["status"]):
            return row["outcome"].strip("`")
    return unknown["outcome"].split("`")[1]


def test_every_status_means_what_its_row_says() -> None:
    statuses = [*range(100, 200), *range(300, 600)]
    replies: dict[int, Any] = {
        status: CHAT.reply(make_call(CHAT), Verb.SUBMIT, Reply(status, {}, b"")) for status in statuses
    }
    assert {status: type(reply).__name__ for status, reply in replies.items()} == {
        status: documented(status) for status in statuses
    }


def test_the_steps_name_files_that_are_there() -> None:
    steps = sections(PAGE)["A new adapter"]
    for path in (
        "providers/__init__.py",
        "tests/contracts/providers.py",
        "tests/providers/test_providers.py",
    ):
        assert path in steps
        assert (ROOT / path).is_file(), path
    assert "\nexpected-modules:" in (ROOT / "Makefile").read_text()
