"""Prompts: placeholders are filled once, and one that cannot be filled is refused or reported."""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.errors import BadInput
from consumer.core.model import parse
from consumer.core.prompt import ROOTS, Unfillable, check_prompt, has_placeholder, render
from consumer.core.strictjson import dump_json
from consumer.core.template import Template

INPUT: Final[dict[str, Any]] = {
    "text": "a {{title}} b",
    "n": 5,
    "list": [1, "é"],
    "none": None,
    "a_b2": "x",
    "order number": "A-1",
    "with-dash": "y",
    "deep": {"er": "z", 'say "x" ]}}': "q"},
    "blank": " \n",
    "zero": 0,
}
TASK: Final = {"title": "T", "description": "D", "input": INPUT}


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("", ""),
        ("no placeholder { } }}", "no placeholder { } }}"),
        ('{"a": {"b": 1}}', '{"a": {"b": 1}}'),
        ("{{title}}: {{description}}", "T: D"),
        ("{{ title }}|{{\ttitle\n}}", "T|T"),
        ("{{input.text}}", "a {{title}} b"),
        ("{{input.n}} {{input.list}} {{input.zero}}", '5 [1,"é"] 0'),
        ("{{input.a_b2}}{{input.missing|}}!", "x!"),
        ("{{input.none | nothing here }}.{{input.blank|empty}}", "nothing here.empty"),
        ('{{input["order number"]}} {{input.with-dash}}', "A-1 y"),
        ('{{input.deep.er}} {{input["deep"]["er"]}} {{input.deep["say \\"x\\" ]}}"]}}', "z z q"),
        ("{{input}}", dump_json(INPUT)),
        ("{{{title}}}", "{T}"),
        ('{{"{{"}}title}} {{"\\"}}"}}', '{{title}} "}}'),
        ("$1 \\1 \\g<0> {{title}}", "$1 \\1 \\g<0> T"),
        ("{{previous|none yet}}", "none yet"),
    ],
)
def test_placeholders_are_filled(prompt: str, text: str) -> None:
    check_prompt(prompt)
    assert render(prompt, TASK) == text


def test_the_input_and_the_previous_answer_have_names_of_their_own() -> None:
    known = TASK | {"previous": {"text": "answer"}}
    assert render("{{input.text}} {{previous.text}} {{previous}}", known) == (
        'a {{title}} b answer {"text":"answer"}'
    )


@pytest.mark.parametrize(
    "prompt",
    [
        "{{}}",
        "{{ }}",
        "{{input.}}",
        "{{input a}}",
        "{{Title}}",
        "{{titel}}",
        "{{titel|default}}",
        "{{title.first}}",
        "{{description.a}}",
        "{{input[0]}}",
        "{{input.a",
        "{{",
        "{{" + " " * 2_000,
        "{{output}}",
    ],
)
def test_an_unknown_placeholder_is_refused(prompt: str) -> None:
    with pytest.raises(BadInput, match=r"^prompt: unknown placeholder \{\{.*: use title, description, input"):
        check_prompt(f"{{{{title}}}} {prompt}")


@pytest.mark.parametrize(
    "name", ["input.missing", "input.none", "input.blank", "input.n.a", "previous", "description"]
)
def test_an_empty_placeholder_is_an_error_unless_it_has_a_default(name: str) -> None:
    task = TASK | {"description": ""}
    with pytest.raises(Unfillable) as refused:
        render(f"a {{{{ {name} }}}}", task)
    assert [problem.field for problem in refused.value.problems] == [name]
    assert render(f"a {{{{ {name}|b }}}}", task) == "a b"
    assert render(f"a {{{{ {name} }}}}", task, lenient=True) == "a "


def test_a_prompt_has_the_placeholders_that_it_names() -> None:
    assert has_placeholder("{{title}}")
    assert has_placeholder("{{previous.a|x}}", "previous")
    assert not has_placeholder("{{title}}", "previous")
    assert not has_placeholder('{{"{{"}}previous}}')


# ---------------------------------------------------------------------------------------------- in a template


def template(prompt: str, *stages: str | None) -> dict[str, Any]:
    """A template whose stages have these prompts of their own."""
    steps: list[dict[str, Any]] = [
        {"kind": "ai", "candidates": [{"profile": "m"}]} | ({} if own is None else {"prompt": own})
        for own in stages
    ]
    return {
        "name": "t",
        "prompt": prompt,
        "output_schema": {"type": "object"},
        "route": {"stages": steps},
    }


@pytest.mark.parametrize(
    ("prompt", "stages", "field"),
    [
        ("{{previous}}", (None,), "prompt"),
        ("{{previous}}", (None, None), "prompt"),
        ("{{previous}}", (None, "Say {{title}}"), "prompt"),
        ("", ("{{previous.a}}", None), "route.stages[0].prompt"),
        ("", (None, "{{nothing}}"), "route.stages[1].prompt"),
    ],
)
def test_a_placeholder_that_can_never_be_filled_is_refused(
    prompt: str, stages: tuple[str | None, ...], field: str
) -> None:
    with pytest.raises(BadInput) as refused:
        parse(Template, template(prompt, *stages))
    assert [problem.field for problem in refused.value.problems] == [field]


@pytest.mark.parametrize(
    ("prompt", "stages"),
    [
        ("{{previous|none}}", (None, None)),
        ("{{previous}}", ("Begin with {{input}}", None)),
        ("Begin", (None, "{{previous.a}} {{input}}")),
    ],
)
def test_a_stage_can_use_the_answer_before_it(prompt: str, stages: tuple[str | None, ...]) -> None:
    assert parse(Template, template(prompt, *stages)).prompt == prompt


# ---------------------------------------------------------------------------------------------- hostile text

parts = st.lists(
    st.sampled_from(
        ["{{title}}", "{{description}}", "{{input}}", "{{input.a}}", "{{", "}}", "{", "x", "\\1", '"']
    )
).map("".join)


@given(parts, parts, parts, parts)
def test_text_that_was_filled_in_is_never_searched_for_placeholders(
    prompt: str, title: str, description: str, a: str
) -> None:
    """The text of a task cannot make the prompt show another field of the task."""
    title, description, a = f"t{title}", f"d{description}", f"a{a}"
    marked = render(prompt, {"title": "<t>", "description": "<d>", "input": {"a": "<a>"}}, lenient=True)
    whole = dump_json({"a": "<a>"})
    expected = (
        marked.replace(whole, "<whole>")
        .replace("<t>", title)
        .replace("<d>", description)
        .replace("<a>", a)
        .replace("<whole>", dump_json({"a": a}))
    )
    assert render(prompt, {"title": title, "description": description, "input": {"a": a}}, lenient=True) == (
        expected
    )


@given(st.sampled_from(ROOTS), st.text())
def test_every_key_can_be_named(root: str, key: str) -> None:
    if root in ("title", "description"):
        return
    assert render(f"{{{{{root}[{dump_json(key)}]}}}}", {root: {key: "found"}}) == "found"
