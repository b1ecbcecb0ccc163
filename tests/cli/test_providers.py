"""`bizq providers`: a row for each adapter."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from consumer.cli.group import bizq
from providers import PROVIDERS


def test_every_adapter_has_one_row_with_its_declaration() -> None:
    shown = CliRunner().invoke(bizq, ["providers"])

    assert shown.exit_code == 0
    head, *rows = shown.output.splitlines()
    assert [row.split()[0] for row in rows] == list(PROVIDERS)
    for column in (
        "modes",
        "structured output",
        "lost call",
        "cancel",
        "price",
        "limits",
        "webhooks",
        "inputs",
    ):
        assert column in head


@pytest.mark.parametrize("name", PROVIDERS)
def test_programs_get_the_same_and_no_cell_is_empty(name: str) -> None:
    shown = CliRunner().invoke(bizq, ["providers", "--json"])
    (row,) = [row for row in json.loads(shown.output)["providers"] if row["adapter"] == name]

    abilities = PROVIDERS[name].abilities
    assert all(row.values())
    assert (row["cancel"] == "yes") is abilities.cancel
    assert (row["webhooks"] != "none") is abilities.webhook
    assert ("poll" in row["modes"]) is abilities.poll


def test_a_lost_call_says_how_it_is_resolved() -> None:
    shown = CliRunner().invoke(bizq, ["providers", "--json"])
    said = {row["adapter"]: row["lost_call"] for row in json.loads(shown.output)["providers"]}

    assert said["anthropic"] == "limits.unknown of the template: no key, no lookup"
    assert said["echo"] == "looked up by its key"
    assert said["inbox"] == "cannot be lost"
