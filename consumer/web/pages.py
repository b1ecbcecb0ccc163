"""The pages: an assignment with its form, a receipt, a refusal, and the two that say what this is.

Plain HTML, no script: the page works on any phone and with any reader of screens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from consumer.web import controls
from consumer.web.markup import Markup, element, page
from consumer.web.problems import INTERNAL, KINDS, NO_METHOD, Refusal
from consumer.web.showing import moment, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.responses import Response

    from consumer.core.errors import Problem
    from consumer.service.people import Assignment, Receipt
    from consumer.web.ask import Form
    from consumer.web.forms import Field

DECISIONS: Final = (
    ("approve", "Approve it as it is"),
    ("edit", "Approve it with my changes"),
    ("reject", "Reject it"),
)


# --- an assignment --------------------------------------------------------------------------------------------------


def assignment(
    asked: Assignment, wanted: Sequence[Field], form: Form | None = None, problems: Sequence[Problem] = ()
) -> Response:
    """What is asked, and the form: as it starts, or as it was typed, with what is wrong beside each field."""
    wrong, general = _placed(wanted, problems)
    parts = [
        _summary(wanted, wrong, general) if problems else None,
        element("h1", asked.title, dir="auto"),
        _question(asked) if asked.kind == "question" else None,
        _facts(asked),
        _section(
            "Description", element("div", asked.description, class_="text", dir="auto"), asked.description
        ),
        _section(
            "What to do", element("div", asked.instructions, class_="text", dir="auto"), asked.instructions
        ),
        _section(
            "What was wrong last time", element("div", asked.feedback, class_="box text"), asked.feedback
        ),
        _section("What it is about", shown(asked.value), asked.value),
        _form(asked, wanted, form, wrong),
        _decline(asked, form),
    ]
    title = f"Error: {asked.title}" if problems else asked.title
    return page(title[:200], *parts, status=422 if problems else 200)


def _facts(asked: Assignment) -> Markup | None:
    due = ("Please answer by ", moment(asked.deadline_ms), ". ") if asked.deadline_ms is not None else None
    promised = "You said that you will do it." if asked.accepted else None
    return element("p", due, promised) if due or promised else None


def _question(asked: Assignment) -> Markup:
    return element(
        "div",
        element("h2", "Nobody knows whether this was done"),
        element(
            "p",
            f"The task was given to {asked.profile}, and no answer came that we could keep. Please look there."
            " If it was done, give the answer below: nothing is paid again. If it was not, say so:"
            " then it is tried again.",
        ),
        class_="box",
    )


def _section(title: str, content: Markup, there: object) -> Markup | None:
    return element("section", element("h2", title), content) if there not in (None, "", {}, []) else None


def _form(asked: Assignment, wanted: Sequence[Field], form: Form | None, wrong: dict[str, str]) -> Markup:
    review, question = asked.kind == "review", asked.kind == "question"
    typed = [
        controls.control(
            field,
            identity(number),
            form.all(field.control) if form else field.typed,
            wrong.get(field.control),
        )
        for number, field in enumerate(wanted)
    ]
    accept = element("button", "I will do it", name="action", value="accept", formnovalidate=True)
    buttons = element(
        "p",
        # The first button is the one that the Enter key presses.
        element(
            "button", "Send" if review else "Send my answer", name="action", value="submit", class_="main"
        ),
        accept if not asked.accepted and not question else None,
    )
    # No action: the form goes back to its own address.  A rejected draft need not be complete, so that a browser
    # must not insist.
    return element(
        "form",
        element("h2", "The draft" if review else "It was done: its answer" if question else "Your answer"),
        *typed,
        _decision(form, wrong) if review else None,
        buttons,
        method="post",
        novalidate=review,
    )


def _decision(form: Form | None, wrong: dict[str, str]) -> list[Markup]:
    chosen, note = (form.one("decision"), form.one("note")) if form else ("", "")
    bad, missing = wrong.get("decision"), wrong.get("note")
    options = [
        controls.option(
            "decision",
            key,
            words,
            "decision" if key == "approve" else f"decision-{key}",
            checked=chosen == key,
        )
        for key, words in DECISIONS
    ]
    return [
        element("h2", "Your decision"),
        element(
            "fieldset",
            element("legend", "What shall become of the draft?"),
            element("p", f"Error: {bad}", class_="error", id="decision-error") if bad else None,
            options,
            class_="field wrong" if bad else "field",
            aria_describedby="decision-error" if bad else None,
        ),
        element(
            "div",
            element("label", "Note (may be left out)", for_="note"),
            element("p", "What is wrong with it, or what you have changed.", class_="hint", id="note-hint"),
            element("p", f"Error: {missing}", class_="error", id="note-error") if missing else None,
            element(
                "textarea", note, name="note", id="note", rows="3", dir="auto", aria_describedby="note-hint"
            ),
            class_="field wrong" if missing else "field",
        ),
        controls.option(
            "redo",
            "yes",
            "If I reject it: send it back to be done again, with my note",
            "redo",
            kind="checkbox",
            checked=form is not None and "redo" in form,
        ),
    ]


def _decline(asked: Assignment, form: Form | None) -> Markup:
    reason = form.one("reason") if form else ""
    question = asked.kind == "question"
    return element(
        "form",
        element("h2", "It was not done?" if question else "You cannot do this?"),
        element(
            "div",
            element("label", "Reason (may be left out)", for_="reason"),
            element("textarea", reason, name="reason", id="reason", rows="2", dir="auto"),
            class_="field",
        ),
        element(
            "p",
            element("button", "It was not done" if question else "Decline", name="action", value="decline"),
        ),
        method="post",
    )


def identity(number: int) -> str:
    """The id of a field's control on the page."""
    return f"field-{number}"


def _placed(wanted: Sequence[Field], problems: Sequence[Problem]) -> tuple[dict[str, str], list[str]]:
    """What is wrong by control, and what belongs to none."""
    wrong: dict[str, str] = {}
    general: list[str] = []
    for problem in problems:
        control = problem.field if problem.field in ("decision", "note") else _control(wanted, problem.field)
        if control is None:
            general.append(str(problem))
        else:
            wrong.setdefault(control, problem.message)
    return wrong, general


def _control(wanted: Sequence[Field], place: str) -> str | None:
    """The control of the property that a place such as `tags[0]` is in."""
    for field in wanted:
        if field.name is None:
            return field.control
        if place == field.name or (place.startswith(field.name) and place[len(field.name)] in ".["):
            return field.control
    return None


def _summary(wanted: Sequence[Field], wrong: dict[str, str], general: Sequence[str]) -> Markup:
    labels = {field.control: (field.label, identity(number)) for number, field in enumerate(wanted)}
    labels |= {"decision": ("Decision", "decision"), "note": ("Note", "note")}
    lines = [element("li", message, dir="auto") for message in general]
    for control, message in wrong.items():
        label, where = labels[control]
        lines.append(element("li", element("a", f"{label}: {message}", href=f"#{where}", dir="auto")))
    heading = element("h2", "It was not sent yet", id="summary")
    return element(
        "div", heading, element("ul", *lines), class_="wrong", role="alert", aria_labelledby="summary"
    )


# --- what became of it ----------------------------------------------------------------------------------------------


def receipt(given: Receipt) -> Response:
    """What became of an answer: the same page each time."""
    return page(
        "Thank you",
        element("h1", "Thank you"),
        element("p", given.message),
        _section("Your answer", shown(given.answer), given.answer),
        element("p", f"Task {given.task}, assignment {given.execution}.", class_="hint"),
    )


def refused(what: Refusal) -> Response:
    """A refusal for people."""
    again = (
        "Go back in your browser and try again: what you typed is still there."
        if what.kind.status >= 500
        else None
    )
    return page(
        what.kind.title,
        element("h1", what.kind.title),
        element("p", f"{what.detail[:1].upper()}{what.detail[1:]}.".replace("..", "."), dir="auto"),
        element("p", again) if again else None,
        status=what.kind.status,
        headers=what.headers,
    )


# --- what this is ---------------------------------------------------------------------------------------------------


def home() -> Response:
    """What this is."""
    return page(
        "Task worker",
        element("h1", "BizQ Task Worker"),
        element(
            "p",
            "This worker gets tasks done by AI models and by people. There is nothing to see without a link or a key.",
        ),
        element(
            "ul",
            element("li", element("a", "What the API does", href="/openapi.json")),
            element("li", element("a", "What it refuses, and why", href="/problems")),
            element("li", element("a", "Whether it is well", href="/healthz")),
        ),
    )


def problem_kinds() -> Response:
    """Every kind of refusal, where the `type` of a problem document leads."""
    kinds = sorted([*KINDS.values(), NO_METHOD, INTERNAL], key=lambda kind: (kind.status, kind.name))
    return page(
        "Problems",
        element("h1", "What is refused, and why"),
        element(
            "dl",
            *(
                (element("dt", f"{kind.status} {kind.title}", id=kind.name), element("dd", kind.advice))
                for kind in kinds
            ),
        ),
    )
