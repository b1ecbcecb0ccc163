"""The adapter `echo`."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from consumer.core.errors import BadInput
from consumer.core.model import parse
from consumer.core.money import Usage
from consumer.core.outcome import Accepted, Failed, Retry, Succeeded, Unknown
from consumer.core.schema import mismatch
from consumer.provider import Pause, Verb
from providers.echo import Echo
from tests.support.adapters import make_call

ECHO = Echo()


def played(settings: dict[str, Any], verb: Verb = Verb.SUBMIT, **changes: Any) -> Pause:
    return ECHO.request(make_call(ECHO, settings, **changes), verb)


def test_echo_answers_with_a_value_that_fits() -> None:
    pause = played({}, value={"city": "Paris", "text": "I live in Paris."})

    assert pause == Pause(Succeeded({"city": "Paris"}, usage=Usage(32, 4, model="echo")))


def test_echo_plays_an_output_a_charge_and_a_delay() -> None:
    pause = played({"output": {"city": "Rome"}, "charge": "0.25", "delay_ms": 50})

    assert pause == Pause(
        Succeeded({"city": "Rome"}, usage=Usage(29, 4, model="echo"), charged=Decimal("0.25")), 50
    )


@pytest.mark.parametrize(
    ("settings", "outcome"),
    [
        ({"fail": "no"}, Failed("no")),
        ({"retry": "busy", "after_ms": 70}, Retry("busy", 70)),
        ({"unknown": "lost"}, Unknown("lost")),
        ({"asynchronous": True}, Accepted("echo-1099511632897", 1000)),
        ({"asynchronous": True, "check_after_ms": None}, Accepted("echo-1099511632897")),
    ],
)
def test_echo_ends_as_its_settings_say(settings: dict[str, Any], outcome: Any) -> None:
    assert played(settings).outcome == outcome


def test_echo_ends_in_one_way() -> None:
    with pytest.raises(BadInput, match="one of fail, retry and unknown"):
        parse(ECHO.settings, {"fail": "a", "retry": "b"})


def test_echo_keeps_to_its_script() -> None:
    script = {"script": [{"retry": "busy"}, {"unknown": "lost"}, {"output": {"city": "Oslo"}}]}
    ends = [played(script, execution_id=2**40 + 9 * 1024 + number).outcome for number in (1, 2, 3, 4, 900)]

    assert [type(end) for end in ends] == [Retry, Unknown, Succeeded, Succeeded, Succeeded]


@pytest.mark.parametrize("verb", [Verb.POLL, Verb.LOOKUP])
def test_echo_has_the_answer_when_it_is_asked_later(verb: Verb) -> None:
    for settings in ({"asynchronous": True}, {"unknown": "lost"}):
        outcome = played({**settings, "output": {"city": "Oslo"}, "delay_ms": 50}, verb)

        assert isinstance(outcome.outcome, Succeeded)
        assert outcome.outcome.output == {"city": "Oslo"}
        assert outcome.after_ms == 0


SAMPLES: list[tuple[dict[str, Any], Any, Any]] = [
    ({"type": "object"}, {"a": 1}, {"a": 1}),
    ({"type": "object"}, None, {}),
    ({"type": "object", "properties": {"a": {"type": "string"}}}, {"a": 1, "b": 2}, {"a": ""}),
    ({"type": "object", "properties": {"a": {"type": "string"}}}, {"b": 2}, {}),
    ({"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"]}, {"a": "y"}, {"a": "y"}),
    ({"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"]}, {}, {"a": "x"}),
    ({"type": "object", "properties": {"a": {"const": 7}}, "required": ["a"]}, {}, {"a": 7}),
    ({"type": "object", "properties": {"a": {"type": "null"}}, "required": ["a"]}, {}, {"a": None}),
    ({"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}, {}, {"a": False}),
    ({"type": "object", "properties": {"a": {"type": "string", "minLength": 3}}, "required": ["a"]}, {}, {"a": "xxx"}),
    ({"type": "object", "properties": {"a": {"type": "string", "format": "date"}}, "required": ["a"]}, {},
     {"a": "1970-01-01"}),
    ({"type": "object", "properties": {"a": {"type": "string", "pattern": "^v[0-9]$", "examples": ["v1"]}},
      "required": ["a"]}, {}, {"a": "v1"}),
    ({"type": "object", "properties": {"a": {"type": "integer", "minimum": 3}}, "required": ["a"]}, {}, {"a": 3}),
    ({"type": "object", "properties": {"a": {"type": "integer", "exclusiveMinimum": 3}}, "required": ["a"]},
     {}, {"a": 4}),
    ({"type": "object", "properties": {"a": {"type": "number", "maximum": -2}}, "required": ["a"]}, {}, {"a": -2}),
    ({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "integer"}, "minItems": 2}},
      "required": ["a"]}, {"a": []}, {"a": [0, 0]}),
    ({"type": "object", "properties": {"a": {"type": ["integer", "null"]}}, "required": ["a"]}, {"a": "x"}, {"a": 0}),
    ({"type": "object", "properties": {"a": {"anyOf": [{"type": "null"}, {"type": "integer"}]}}, "required": ["a"]},
     {"a": 5}, {"a": 5}),
    ({"type": "object", "$defs": {"name": {"type": "string", "minLength": 1}},
      "properties": {"a": {"type": "array", "items": {"$ref": "#/$defs/name"}, "minItems": 1}}, "required": ["a"]},
     {}, {"a": ["x"]}),
    ({"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {"type": "integer"}},
      "required": ["b"]}}, "required": ["a"]}, {"a": {"b": 4, "c": 5}}, {"a": {"b": 4}}),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "value", "wanted"), SAMPLES)
def test_echo_finds_the_smallest_answer_that_fits(schema: dict[str, Any], value: Any, wanted: Any) -> None:
    outcome = played({}, output_schema=schema, value=value).outcome

    assert isinstance(outcome, Succeeded)
    assert outcome.output == wanted
    assert mismatch(schema, wanted) is None


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}, "required": ["a"]},
        {
            "type": "object",
            "properties": {"a": {"type": "string", "pattern": "^[0-9]{7}$"}},
            "required": ["a"],
        },
        {"type": "object", "properties": {"a": False}, "required": ["a"]},
        {"type": "object", "properties": {"a": {"type": "string", "minLength": 1.5}}, "required": ["a"]},
        {
            "type": "object",
            "$defs": {
                f"d{n}": {
                    "type": "object",
                    "properties": {str(k): {"$ref": f"#/$defs/d{n + 1}"} for k in range(9)},
                    "required": [str(k) for k in range(9)],
                }
                for n in range(12)
            },
            "properties": {"a": {"$ref": "#/$defs/d0"}},
            "required": ["a"],
        },
    ],
    ids=["itself", "nowhere", "pattern", "nothing", "half a character", "billions"],
)
def test_echo_gives_up_in_good_time(schema: dict[str, Any]) -> None:
    """Then the worker finds that the answer does not fit the schema."""
    assert isinstance(played({}, output_schema=schema).outcome, Succeeded)
