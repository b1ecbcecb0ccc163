"""`bizq show`: the history of a task, for people."""

from __future__ import annotations

from typing import Any

from consumer.cli.tasks import MAX_UNUSED_CHARS, describe


def history(**execution: Any) -> dict[str, Any]:
    """A failed task with one execution."""
    task = {
        "id": 7,
        "title": "A task",
        "status": "failed",
        "updated_at": "2033-05-18T03:33:20Z",
        "template_name": "sort",
        "template_id": 1,
        "organization_id": 1,
        "priority": None,
        "result": None,
    }
    common = {
        "id": 7169,
        "stage": 0,
        "execution_type": "ai",
        "profile": "groq",
        "provider": "openai_compatible",
        "status": "failed",
        "started_at": None,
        "completed_at": None,
        "cost_micro": 200,
        "reason": "invalid_output: answer must be string",
        "result": None,
        "used": None,
    }
    return {"task": task, "why": "It is failed.", "executions": [common | execution], "audit": []}


def test_an_answer_that_was_not_used_is_shown_as_such() -> None:
    shown = describe(history(result={"answer": 5}, used=False))
    assert 'execution 7169 answered, which was not used: {"answer": 5}' in shown

    long = describe(history(result="x" * 5_000, used=False))
    assert "x" * (MAX_UNUSED_CHARS - 1) in long
    assert "x" * MAX_UNUSED_CHARS not in long


def test_an_execution_without_an_unused_answer_has_no_such_line() -> None:
    for execution in ({}, {"result": {"answer": "yes"}, "used": True}):
        assert "not used" not in describe(history(**execution))
