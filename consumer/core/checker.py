"""Checks of JSON Schemas that end: fastjsonschema writes them, and a meter is built into what it wrote.

A schema may come from a tenant and a value from a model's server, and a small schema can ask for more work than
there is time: references that double at each level, patterns with many ways.  So every loop and every function
counts its statements, and a check that spends more than `BUDGET` is given up.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any, Final

from fastjsonschema import JsonSchemaDefinitionException
from fastjsonschema.draft2019 import CodeGeneratorDraft2019
from fastjsonschema.ref_resolver import RefResolver

from consumer.core.pattern import compile_pattern

if TYPE_CHECKING:
    from collections.abc import Callable

BUDGET: Final = 2_000_000
"""Parts of statements that one check may run: some tenths of a second."""
MAX_CODE: Final = 400_000
"""Characters of code that a schema may come to."""
MAX_FORMATTED: Final = 1_000
"""Characters of a text that has a format; a longer one has none of them."""
_PARTS: Final = 8
"""Nodes of the syntax tree that count as one."""


class TooMuchWork(Exception):
    """The check was given up."""


class Meter:
    """What a check may still spend."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = BUDGET

    def spend(self, work: int) -> None:
        """Raises TooMuchWork."""
        self.left -= work
        if self.left < 0:
            raise TooMuchWork


class _Short:
    """A format's own pattern, asked only about what is short: some of them take the square of its length."""

    def __init__(self, pattern: Any) -> None:
        self._pattern = pattern

    def match(self, text: str) -> bool:
        return len(text) <= MAX_FORMATTED and self._pattern.match(text) is not None


class _Generator(CodeGeneratorDraft2019):
    """The library's, without what is too much: messages that hold the schema, content that is decoded, `re`."""

    def __init__(self, definition: dict[str, Any], resolver: RefResolver) -> None:
        super().__init__(definition, resolver=resolver, use_default=False)  # type: ignore[no-untyped-call]
        for name in ("contentEncoding", "contentMediaType"):
            del self._json_keywords_to_function[name]

    def exc(self, msg: str, *args: Any, append_to_msg: str | None = None, rule: str | None = None) -> None:
        words = f'"{msg}"' if append_to_msg is None else f'"{msg}" + ({append_to_msg})'
        named = self.e(_said(self).get(rule or ""))  # type: ignore[no-untyped-call]
        self.l(f"raise JsonSchemaValueException({words})", *args, definition_rule=named)

    def generate_format(self) -> None:
        if _said(self)["format"] != "regex":  # it would compile the value
            super().generate_format()  # type: ignore[no-untyped-call]

    def generate_required(self) -> None:
        """As the library's, without its own search for names that no pattern allows."""
        required = _said(self)["required"]
        if not (isinstance(required, list) and all(isinstance(name, str) for name in required)):
            raise JsonSchemaDefinitionException("required must be a list of names")
        self.create_variable_is_dict()  # type: ignore[no-untyped-call]
        with self.l("if {variable}_is_dict:"):
            self.l("{variable}__missing_keys = set({}) - {variable}.keys()", repr(required))
            with self.l("if {variable}__missing_keys:"):
                missing = 'str(sorted({variable}__missing_keys)) + " properties"'
                self.exc("{name} must contain ", append_to_msg=missing)


def _said(generator: _Generator) -> dict[str, Any]:
    """The part of the schema that code is written for; a boolean says nothing more."""
    definition: Any = generator._definition  # noqa: SLF001  # of the base class
    return definition if isinstance(definition, dict) else {}


def make(schema: dict[str, Any]) -> Callable[[Any], None]:
    """The check of a schema, which is changed.

    It raises JsonSchemaValueException on a mismatch and TooMuchWork.  Raises whatever a hostile schema makes the
    library stumble over, Unsupported on a pattern, JsonSchemaDefinitionException."""
    resolver = RefResolver.from_schema(schema, handlers=_NOWHERE, store={})
    generator = _Generator(schema, resolver)
    code = generator.func_code
    if len(code) > MAX_CODE:
        raise JsonSchemaDefinitionException("too large")
    meter = Meter()
    state = generator.global_state
    patterns = state["REGEX_PATTERNS"]
    for name, pattern in patterns.items():
        ours = name.endswith(_FORMAT)
        patterns[name] = _Short(pattern) if ours else compile_pattern(name, meter.spend)
    state["_spend"] = meter.spend
    tree = _Metering().visit(ast.parse(code))
    exec(compile(ast.fix_missing_locations(tree), "<schema>", "exec"), state)  # noqa: S102  # as the library does
    function = state[resolver.get_scope_name()]

    def check(value: Any) -> None:
        meter.left = BUDGET
        function(value)

    return check


_FORMAT: Final = "_re_pattern"


def _refuse(address: str) -> Any:
    raise JsonSchemaDefinitionException(
        f"a reference stays inside the schema, which {address[:100]!r} does not"
    )


_NOWHERE: Final[dict[str, Callable[[str], Any]]] = dict.fromkeys(
    ("http", "https", "ftp", "file", "data", ""), _refuse
)


class _Metering(ast.NodeTransformer):
    """Puts a count before the body of each loop and function."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._metered(node)

    def visit_For(self, node: ast.For) -> ast.AST:
        return self._metered(node)

    def _metered(self, node: ast.FunctionDef | ast.For) -> ast.AST:
        parts = sum(1 for statement in node.body for _ in ast.walk(statement))
        self.generic_visit(node)
        count = ast.parse(f"_spend({1 + parts // _PARTS})").body[0]
        node.body.insert(0, count)
        return node
