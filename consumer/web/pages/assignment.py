"""The page of an assignment with its form, and the page of a receipt.

Plain HTML without scripts: it works on any phone and with any screen reader.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from consumer.web.pages import controls
from consumer.web.pages.fields import PREFIX
from consumer.web.pages.format import moment, shown
from consumer.web.pages.markup import Markup, element, page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.responses import Response

    from consumer.core.errors import Problem
    from consumer.service.people import Assignment
    from consumer.service.receipts import Receipt
    from consumer.web.pages.fields import Field
    from consumer.web.request import Form

DECISIONS: Final = (
    ("approve", "Approve it as it is"),
    ("edit", "Approve it with my changes"),
    ("reject", "Reject it"),
)
OWN: Final = {"decision": "Decision", "note": "Note", "sure": "Confirmation", "by": "Your name"}
"""The form's own controls.  A property of the answer may have the same name: its control begins with `output.`."""


def page_of(
    asked: Assignment, wanted: Sequence[Field], form: Form | None = None, problems: Sequence[Problem] = ()
) -> Response:
    """The page of an assignment.  `form`: keep the text that was typed.  `problems`: show each beside its field."""
    wrong, general = _by_control(wanted, problems)
    parts = [
        _summary(wanted, wrong, general) if problems else None,
        element("h1", asked.title, dir="auto"),
        _question(asked) if asked.kind == "question" else None,
        _deadline(asked),
        _section(
            "Description", element("div", asked.description, class_="text", dir="auto"), asked.description
        ),
        _section(
            "Instructions", element("div", asked.instructions, class_="text", dir="auto"), asked.instructions
        ),
        _section(
            "Feedback on the last attempt", element("div", asked.feedback, class_="box text"), asked.feedback
        ),
        _rounds(asked),
        _section("Input", shown(asked.value), asked.value),
        _section("The answer of the stage before", shown(asked.previous), asked.previous),
        _form(asked, wanted, form, wrong),
        _decline(asked, form, wrong),
    ]
    title = f"Error: {asked.title}" if problems else asked.title
    return page(title[:200], *parts, status=422 if problems else 200)


def _deadline(asked: Assignment) -> Markup | None:
    due = ("Please answer by ", moment(asked.deadline_ms), ". ") if asked.deadline_ms is not None else None
    promised = "You said that you will do it." if asked.accepted else None
    return element("p", due, promised) if due or promised else None


def _question(asked: Assignment) -> Markup:
    return element(
        "div",
        element("h2", "We do not know whether this was done"),
        element(
            "p",
            f"The task was given to {asked.profile}, and we did not receive a usable answer. Please check there."
            " If it was done, enter the answer below: nothing is paid again."
            " If it was not done, say so: the task is then tried again, or it ends.",
        ),
        class_="box",
    )


def _rounds(asked: Assignment) -> Markup | None:
    """The drafts that were sent back before this one."""
    if not asked.rounds:
        return None
    lines = [
        element(
            "li",
            element("div", f"Sent back{f' by {one.by}' if one.by else ''}:", dir="auto"),
            element("div", one.note, class_="text", dir="auto"),
        )
        for one in asked.rounds
    ]
    title = f"This is draft {len(lines) + 1}"
    return element("section", element("h2", title), element("ol", *lines), class_="box")


def _section(title: str, content: Markup, value: object) -> Markup | None:
    """A section with a heading; None if the value that it shows is empty."""
    return element("section", element("h2", title), content) if value not in (None, "", {}, []) else None


def _form(asked: Assignment, wanted: Sequence[Field], form: Form | None, wrong: dict[str, str]) -> Markup:
    review, question = asked.kind == "review", asked.kind == "question"
    typed = [
        controls.control(
            field,
            identity(number),
            form.values(field.control) if form else field.typed,
            wrong.get(field.control),
        )
        for number, field in enumerate(wanted)
    ]
    accept = element("button", "I will do it", name="action", value="accept", formnovalidate=True)
    buttons = element(
        "p",
        # The Enter key presses the first button.
        element(
            "button", "Send" if review else "Send my answer", name="action", value="submit", class_="main"
        ),
        accept if not asked.accepted and not question else None,
    )
    # Without an action, the form is sent to the address of its page.  A rejected draft may be incomplete, so that the
    # browser must not demand values.
    return element(
        "form",
        element("h2", "The draft" if review else "If it was done: the answer" if question else "Your answer"),
        *typed,
        _decision(form, wrong) if review else None,
        _name(asked, form, "by"),
        buttons,
        method="post",
        novalidate=review,
    )


def _decision(form: Form | None, wrong: dict[str, str]) -> list[Markup]:
    chosen, note = (form.value("decision"), form.value("note")) if form else ("", "")
    bad, missing = wrong.get("decision"), wrong.get("note")
    options = [
        controls.option(
            "decision",
            key,
            label,
            "decision" if key == "approve" else f"decision-{key}",
            checked=chosen == key,
        )
        for key, label in DECISIONS
    ]
    return [
        element("h2", "Your decision"),
        element(
            "fieldset",
            element("legend", "What should happen to this draft?"),
            element("p", f"Error: {bad}", class_="error", id="decision-error") if bad else None,
            options,
            class_="field wrong" if bad else "field",
            aria_describedby="decision-error" if bad else None,
        ),
        element(
            "div",
            element("label", "Note (required if you want it done again)", for_="note"),
            element(
                "p", "If you reject the draft, say what is wrong with it.", class_="hint", id="note-hint"
            ),
            element("p", f"Error: {missing}", class_="error", id="note-error") if missing else None,
            element(
                "textarea", note, name="note", id="note", rows="3", dir="auto", aria_describedby="note-hint"
            ),
            class_="field wrong" if missing else "field",
        ),
        controls.option(
            "redo",
            "yes",
            "If I reject it: have it done again, with my note",
            "redo",
            kind="checkbox",
            checked=form is not None and "redo" in form,
        ),
    ]


def _name(asked: Assignment, form: Form | None, identity: str) -> Markup | None:
    """Who answers, where no user is asked by name: everybody who has the link can answer."""
    if asked.assigned_to is not None:
        return None
    typed = form.value("by") if form else ""
    return element(
        "div",
        element("label", "Your name (optional)", for_=identity),
        element("input", type="text", name="by", value=typed, id=identity, autocomplete="name", dir="auto"),
        class_="field",
    )


def _decline(asked: Assignment, form: Form | None, wrong: dict[str, str]) -> Markup:
    """The second form.  The tick confirms it, without a script: its button stands below the other one."""
    reason = form.value("reason") if form else ""
    question, unsure = asked.kind == "question", wrong.get("sure")
    confirm = "Yes, I have checked: it was not done" if question else "Yes, give it back without my answer"
    return element(
        "form",
        element("h2", "If it was not done" if question else "If you cannot do this"),
        element(
            "div",
            element("label", "Reason (optional)", for_="reason"),
            element("textarea", reason, name="reason", id="reason", rows="2", dir="auto"),
            class_="field",
        ),
        _name(asked, form, "by-decline"),
        element("p", f"Error: {unsure}", class_="error") if unsure else None,
        controls.option("sure", "yes", confirm, "sure", kind="checkbox", required=True),
        element(
            "p",
            element(
                "button",
                "It was not done" if question else "I cannot do this",
                name="action",
                value="decline",
            ),
        ),
        method="post",
    )


def identity(number: int) -> str:
    """The id of a field's control on the page."""
    return f"field-{number}"


def _by_control(wanted: Sequence[Field], problems: Sequence[Problem]) -> tuple[dict[str, str], list[str]]:
    """The message for each control, and the messages that belong to no control."""
    wrong: dict[str, str] = {}
    general: list[str] = []
    for problem in problems:
        control = problem.field if problem.field in OWN else _control(wanted, problem.field)
        if control is None:
            general.append(problem.message if problem.field == PREFIX else str(problem))
        else:
            wrong.setdefault(control, problem.message)
    return wrong, general


def _control(wanted: Sequence[Field], place: str) -> str | None:
    """The control of the property that a place such as `output.tags[0]` is in; None: it is in none."""
    inside = place.removeprefix(PREFIX)
    if inside == place:
        return None
    place = inside.removeprefix(".")
    for field in wanted:
        if field.name is None:
            return field.control
        if place == field.name or (place.startswith(field.name) and place[len(field.name)] in ".["):
            return field.control
    return None


def _summary(wanted: Sequence[Field], wrong: dict[str, str], general: Sequence[str]) -> Markup:
    labels = {field.control: (field.label, identity(number)) for number, field in enumerate(wanted)}
    labels |= {name: (label, name) for name, label in OWN.items()}
    lines = [element("li", message, dir="auto") for message in general]
    for control, message in wrong.items():
        label, where = labels[control]
        lines.append(element("li", element("a", f"{label}: {message}", href=f"#{where}", dir="auto")))
    heading = element("h2", "There is a problem", id="summary")
    return element(
        "div", heading, element("ul", *lines), class_="wrong", role="alert", aria_labelledby="summary"
    )


def receipt(given: Receipt) -> Response:
    """The receipt of an answer: the same page each time.  A person whose answer is not used reads which one is."""
    title = "Thank you" if given.sent is None else "Another answer came first"
    decision = str(given.decision) if given.decision and given.sent is None else None
    return page(
        title,
        element("h1", title),
        element("p", given.message, dir="auto"),
        element("p", f"{decision}.", dir="auto") if decision else None,
        _section("The answer", shown(given.answer), given.answer),
        _section("What you sent", shown(given.sent), given.sent),
        element("p", f"Task {given.task}, assignment {given.execution}.", class_="hint"),
    )
