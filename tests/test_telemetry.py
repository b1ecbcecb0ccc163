"""Log lines: JSON, from closed lists."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
from structlog.contextvars import bound_contextvars

from consumer.telemetry import FIELDS, Event, configure, log, reason_code, silence


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    written = io.StringIO()
    configure("DEBUG", written)
    yield written
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object(stream: io.StringIO) -> None:
    log().info(Event.TASK_ENDED, task=7, reason="two\nlines", cost_micro=None)
    (line,) = lines(stream)
    at = datetime.fromisoformat(line.pop("timestamp"))
    assert at.tzinfo == UTC
    assert line == {
        "event": "task.ended",
        "level": "info",
        "task": 7,
        "reason": "two\nlines",
        "cost_micro": None,
    }


def test_bound_fields_are_on_every_line(stream: io.StringIO) -> None:
    with bound_contextvars(message="m-1", task=7):
        log().warning(Event.DATABASE_RETRIED, attempt=1)
        log().warning(Event.DATABASE_RETRIED, attempt=2, task=8)
    log().warning(Event.DATABASE_RETRIED, attempt=3)
    assert [(line.get("message"), line.get("task"), line["attempt"]) for line in lines(stream)] == [
        ("m-1", 7, 1),
        ("m-1", 8, 2),
        (None, None, 3),
    ]


@pytest.mark.parametrize("event", Event)
def test_every_event_can_be_logged_with_every_field(stream: io.StringIO, event: Event) -> None:
    log().error(event, **dict.fromkeys(FIELDS, 1))
    (line,) = lines(stream)
    assert line.keys() == FIELDS | {"event", "level", "timestamp"}
    assert line["event"] == event.value


@pytest.mark.parametrize("event", ["task.exploded", "", "a prompt with {'key': 'sk-1'}"])
def test_an_event_that_is_not_on_the_list_is_refused(stream: io.StringIO, event: str) -> None:
    with pytest.raises(ValueError, match="is not a valid Event"):
        log().info(event)
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    "field", ["input", "output", "prompt", "key", "body", "headers", "exc_info", "email"]
)
def test_a_field_that_is_not_on_the_list_is_refused(stream: io.StringIO, field: str) -> None:
    """A payload or a secret would need one."""
    values = {field: "sk-1"}
    with pytest.raises(ValueError, match=rf"^log fields not on the list: \['{field}'\]$"):
        log().info(Event.TASK_ENDED, task=7, **values)
    assert stream.getvalue() == ""


def test_a_bound_field_that_is_not_on_the_list_is_refused(stream: io.StringIO) -> None:
    with bound_contextvars(prompt="private"), pytest.raises(ValueError, match="prompt"):
        log().info(Event.TASK_ENDED)
    assert stream.getvalue() == ""


def test_events_below_the_level_are_not_logged() -> None:
    written = io.StringIO()
    configure("WARNING", written)
    log().info(Event.TASK_ENDED)
    log().warning(Event.SWEPT)
    structlog.reset_defaults()
    assert [line["event"] for line in lines(written)] == ["sweep.done"]


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(KeyError):
        configure("CHATTY")


def test_a_silent_logger_drops_every_line_until_the_next_configuration(stream: io.StringIO) -> None:
    silence()
    log().error(Event.TASK_ENDED, task=7)
    assert stream.getvalue() == ""
    configure("INFO", stream)
    log().error(Event.TASK_ENDED, task=7)
    assert [line["task"] for line in lines(stream)] == [7]


def test_lines_go_to_standard_error_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    log().info(Event.SWEPT)
    structlog.reset_defaults()
    output = capsys.readouterr()
    assert output.out == ""
    assert json.loads(output.err)["event"] == "sweep.done"


def test_a_logger_is_asked_for_at_each_use() -> None:
    """A module that was imported early must log as it was configured later."""
    early = io.StringIO()
    late = io.StringIO()
    configure("INFO", early)
    log().info(Event.SWEPT)
    configure("INFO", late)
    log().info(Event.TASK_ENDED)
    structlog.reset_defaults()
    assert "sweep.done" in early.getvalue()
    assert "task.ended" in late.getvalue()


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (None, None),
        ("deadline", "deadline"),
        ("invalid_output: data.name must be string", "invalid_output"),
        ("http_400 what the provider called it: and said", "http_400"),
        ("What a person wrote", None),
        ("the worker was lost", None),
        ("cut_off: the worker was stopped", "cut_off"),
        ("sk-1234", None),
        ("x" * 41, None),
    ],
)
def test_a_line_contains_only_our_own_code_of_a_reason(reason: str | None, code: str | None) -> None:
    assert reason_code(reason) == code
