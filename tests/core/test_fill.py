"""Placeholders of described requests."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.fill import fill, fill_text, names_in, texts_in, without_placeholders

VALUES: dict[str, Any] = {"a": {"x": [1]}, "n": 5, "t": "text", "b": "{{a}}", "off": False}


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{a}}", {"x": [1]}),
        ("{{ n }}", 5),
        ("{{off}}", False),
        ("{{none}}", None),
        ("-{{none}}-", "--"),
        ("n={{n}}, a={{a}}", 'n=5, a={"x":[1]}'),
        ({"k": "{{none}}", "l": None, "m": "{{n}}"}, {"l": None, "m": 5}),
        (["{{none}}", "{{t}}", None, 1.5, True], ["text", None, 1.5, True]),
        ({"deep": [{"x": "{{b}}"}]}, {"deep": [{"x": "{{a}}"}]}),
        ("{{b}}{{b}}", "{{a}}{{a}}"),
        ("{ {a}}", "{ {a}}"),
    ],
)
def test_a_template_is_filled(template: Any, value: Any) -> None:
    assert fill(template, VALUES.get) == value


@given(st.text(), st.text())
def test_a_value_is_never_searched(first: str, second: str) -> None:
    assert fill_text("{{a}}|{{b}}", {"a": first, "b": second}.get) == f"{first}|{second}"


def test_names_and_places_are_found() -> None:
    template = {"k": ["x {{a}}", {"l": "{{parameters.voice}}"}], "m": 3}

    assert names_in(template) == {"a", "parameters.voice"}
    assert list(texts_in(template, "body")) == [
        ("body.k[0]", "x {{a}}"),
        ("body.k[1].l", "{{parameters.voice}}"),
    ]
    assert without_placeholders("a {{b}} {{c d}}") == "a  {{c d}}"


def test_a_long_text_of_braces_takes_linear_time() -> None:
    assert fill_text("{{a" * 100_000, VALUES.get) == "{{a" * 100_000
