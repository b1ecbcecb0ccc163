"""Compile a JSON Schema into a check that always ends.

The library fastjsonschema writes Python code for a schema.  This file adds a meter to that code before it is compiled.
The reason: a tenant may have written the schema, and a model's server the value, and even a small schema can ask for
more work than there is time, for example with references that double at each level.  So every loop and every function
of the code counts its statements, and a check that has spent more than `BUDGET` is given up.
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
"""Units of work that one check may spend: a few tenths of a second."""
MAX_CODE: Final = 400_000
"""Characters of generated code that a schema may produce; more is refused when a template is written."""
MAX_FORMATTED: Final = 1_000
"""Characters of a text that is checked against a `format`.  A longer text does not fit any format."""
MAX_FOUND: Final = 100
"""Mismatches that a check collects before it is given up: each costs this part of `BUDGET`, since each is stored."""
_NODES_PER_UNIT: Final = 8
"""Nodes of the syntax tree that count as one unit of work."""
_FORMAT: Final = "_re_pattern"
"""The end of the names under which the library keeps the patterns of formats."""
_ROOT: Final = "data"
"""The library's name for the checked value, with which its names of fields begin: `data.items[0]`."""


class TooMuchWork(Exception):
    """The check has spent its budget and was given up."""


class Meter:
    """Counts down the work that is left for one check."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = BUDGET

    def spend(self, work: int) -> None:
        """Count `work` units.  Raises TooMuchWork when none are left."""
        self.left -= work
        if self.left < 0:
            raise TooMuchWork


class _ShortTexts:
    """The library's pattern for a format, limited to short texts: some need time that grows with the square."""

    def __init__(self, pattern: Any) -> None:
        self._pattern = pattern

    def match(self, text: str) -> bool:
        return len(text) <= MAX_FORMATTED and self._pattern.match(text) is not None


class _Generator(CodeGeneratorDraft2019):
    """The library's generator, with three changes.

    An exception holds the name of the field and a message, but not the schema and the value, which may be large.
    The keywords `contentEncoding` and `contentMediaType` are ignored: nothing limits the nesting of decoded text.
    Patterns are searched for by `consumer.core.pattern` instead of `re`."""

    def __init__(self, definition: dict[str, Any], resolver: RefResolver, *, collect: bool) -> None:
        super().__init__(definition, resolver=resolver, use_default=False, fast_fail=not collect)  # type: ignore[no-untyped-call]
        for name in ("contentEncoding", "contentMediaType"):
            del self._json_keywords_to_function[name]

    def exc(self, msg: str, *args: Any, append_to_msg: str | None = None, rule: str | None = None) -> None:
        """Write the code that reports a mismatch: the name of the field and the message as separate values.

        The library's message templates begin with the name of the field; one names it in the middle."""
        message = f'"{msg.removeprefix("{name} ").replace(" in {name}", "")}"'
        if append_to_msg is not None:
            message += f" + ({append_to_msg})"
        error = f'JsonSchemaValueException({message}, name="{{name}}")'
        value = self.e(_keywords(self).get(rule or ""))  # type: ignore[no-untyped-call]
        if self._fast_fail:
            self.l(f"raise {error}", *args, definition_rule=value)
        else:
            self.l(f"_spend({BUDGET // MAX_FOUND})")
            self.l(f"errors.append({error})", *args, definition_rule=value)

    def generate_format(self) -> None:
        """As the library's, except that `regex` is ignored: the library would compile the value with `re`."""
        if _keywords(self)["format"] != "regex":
            super().generate_format()  # type: ignore[no-untyped-call]

    def generate_required(self) -> None:
        """As the library's, without its search with `re` for names that no pattern allows."""
        required = _keywords(self)["required"]
        if not (isinstance(required, list) and all(isinstance(name, str) for name in required)):
            raise JsonSchemaDefinitionException("required must be a list of names")
        self.create_variable_is_dict()  # type: ignore[no-untyped-call]
        with self.l("if {variable}_is_dict:"):
            self.l("{variable}__missing_keys = set({}) - {variable}.keys()", repr(required))
            with self.l("if {variable}__missing_keys:"):
                missing = 'str(sorted({variable}__missing_keys)) + " properties"'
                self.exc("{name} must contain ", append_to_msg=missing)


def _keywords(generator: _Generator) -> dict[str, Any]:
    """The keywords of the schema that code is being written for.  A boolean schema has none."""
    definition: Any = generator._definition  # noqa: SLF001  # of the base class
    return definition if isinstance(definition, dict) else {}


def make(schema: dict[str, Any], *, collect: bool = False) -> Callable[[Any], None]:
    """Compile the check of a schema.  The library changes the schema that it is given.

    The check returns nothing for a value that fits.  Otherwise it raises JsonSchemaValueException for the first
    mismatch or, with `collect`, JsonSchemaValuesException with all of them; `field_of` names the field of one.
    It raises TooMuchWork when it is given up.

    Raises Unsupported for a pattern and JsonSchemaDefinitionException for a schema that cannot be used.  A hostile
    schema can make the library raise any other exception too."""
    resolver = RefResolver.from_schema(schema, handlers=_NO_DOCUMENTS, store={})
    generator = _Generator(schema, resolver, collect=collect)
    code = generator.func_code
    if len(code) > MAX_CODE:
        raise JsonSchemaDefinitionException("too large")
    meter = Meter()
    state = generator.global_state
    patterns = state["REGEX_PATTERNS"]
    for name, pattern in patterns.items():
        is_format = name.endswith(_FORMAT)
        patterns[name] = _ShortTexts(pattern) if is_format else compile_pattern(name, meter.spend)
    state["_spend"] = meter.spend
    tree = _Metering().visit(ast.parse(code))
    exec(compile(ast.fix_missing_locations(tree), "<schema>", "exec"), state)  # noqa: S102  # as the library does
    function = state[resolver.get_scope_name()]

    def check(value: Any) -> None:
        meter.left = BUDGET
        function(value)

    return check


def field_of(name: str | None) -> str:
    """The path of a field, such as `items[0].name`, from the name in one of the library's exceptions."""
    return (name or "").removeprefix(_ROOT).removeprefix(".")


def _refuse(address: str) -> Any:
    raise JsonSchemaDefinitionException(
        f"the reference {address[:100]!r} points outside of the schema: a reference must begin with #"
    )


_NO_DOCUMENTS: Final[dict[str, Callable[[str], Any]]] = dict.fromkeys(
    ("http", "https", "ftp", "file", "data", ""), _refuse
)
"""Refuses to load another document, whatever the scheme of its address."""


class _Metering(ast.NodeTransformer):
    """Puts a call of the meter before the body of each loop and function."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._metered(node)

    def visit_For(self, node: ast.For) -> ast.AST:
        return self._metered(node)

    def _metered(self, node: ast.FunctionDef | ast.For) -> ast.AST:
        nodes = sum(1 for statement in node.body for _ in ast.walk(statement))
        self.generic_visit(node)
        count = ast.parse(f"_spend({1 + nodes // _NODES_PER_UNIT})").body[0]
        node.body.insert(0, count)
        return node
