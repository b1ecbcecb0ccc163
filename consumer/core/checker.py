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

from consumer.core.pattern import MAX_KEPT, MAX_PLACES, TOO_MANY, Memory, Unsupported, compile_pattern, places
from consumer.core.sentences import sentence

if TYPE_CHECKING:
    from collections.abc import Callable

BUDGET: Final = 2_000_000
"""Units of work that one check may spend: a few tenths of a second."""
RUN_WORK: Final = 50 * BUDGET
"""Units of work for checking the answers of a run, a few seconds.  After that, the run begins nothing new and ends: an
invocation has a limit of CPU time."""
LONG_CHECK: Final = 100_000
"""Units of work after which a check lets the other tasks of the loop run."""
COMPILING: Final = 15
"""Units of work for each character of generated code that is compiled."""
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
MAX_NAMED: Final = 5
"""Fields that one sentence names."""
_ROOT: Final = "data"
"""The library's name for the checked value, with which its names of fields begin: `data.items[0]`."""


class TooMuchWork(Exception):
    """The check has spent its budget and was given up."""


class Work:
    """The work that several checks may spend together: those of one request, or those of one run.

    `cuts`: a check is given up when nothing is left.  The answers of a run are paid, so that each one is still checked;
    the run begins nothing new instead."""

    __slots__ = ("cuts", "left")

    def __init__(self, left: int, *, cuts: bool = True) -> None:
        self.left = left
        self.cuts = cuts

    @property
    def allowance(self) -> int:
        """What the next check may spend."""
        return max(0, min(BUDGET, self.left)) if self.cuts else BUDGET


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
    """The library's pattern for a format, limited to short texts: some need time that grows with the square.

    The square is what the meter counts, since a list can hold many such texts."""

    def __init__(self, pattern: Any, spend: Callable[[int], None]) -> None:
        self._pattern = pattern
        self._spend = spend

    def match(self, text: str) -> bool:
        if len(text) > MAX_FORMATTED:
            return False
        self._spend(len(text) * len(text) // 32)
        return self._pattern.match(text) is not None


class _Resolver(RefResolver):
    """The library's resolver, for a schema whose references are all paths inside it.

    It does not search the schema for addresses, which would take data for schemas.  It gives each reference a function
    of its own: the library's names are the same for `#/$defs/a` and `#/$defs/A`."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._names: dict[str, str] = {}
        super().__init__("", schema, store={}, handlers=_NO_DOCUMENTS)

    def walk(self, node: Any, depth: int = 0, rewrite_refs: bool = True) -> None:  # noqa: FBT001, FBT002  # its form
        """Nothing is searched for."""

    def get_scope_name(self) -> str:
        return self._names.setdefault(self.get_uri(), f"validate_{len(self._names)}")


class _Generator(CodeGeneratorDraft2019):
    """The library's generator, with three changes.

    An exception holds the name of the field and a message, but not the schema and the value, which may be large.
    The keywords `contentEncoding` and `contentMediaType` are ignored: nothing limits the nesting of decoded text.
    Patterns are searched for by `consumer.core.pattern` instead of `re`."""

    def __init__(self, definition: dict[str, Any], resolver: RefResolver, *, collect: bool) -> None:
        super().__init__(definition, resolver=resolver, use_default=False, fast_fail=not collect)  # type: ignore[no-untyped-call]
        for name in ("contentEncoding", "contentMediaType"):
            del self._json_keywords_to_function[name]

    def exc(self, msg: str, *args: Any, append_to_msg: str | None = None, rule: str | None = None) -> None:  # noqa: ARG002  # the library's sentence
        """Write the code that reports a mismatch: the name of the field, and our own sentence for the keyword."""
        text = sentence(rule or "", _keywords(self))
        if rule == "dependencies":
            text = "must not have {}" if len(args) == 1 else "must also have {}, because it has {}"
            message = f'"{text}"'
        else:
            message = repr(text).replace("{", "{{").replace("}", "}}")
        if rule == "additionalProperties":
            append_to_msg = _NAMED.format("{variable}_keys")
        if rule in ("required", "additionalProperties"):
            message += f" + {append_to_msg}"
        error = f'JsonSchemaValueException({message}, name="{{name}}")'
        if self._fast_fail:
            self.l(f"raise {error}", *args)
        else:
            self.l(f"_spend({BUDGET // MAX_FOUND})")
            self.l(f"errors.append({error})", *args)

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
                self.exc("", append_to_msg=_NAMED.format("{variable}__missing_keys"), rule="required")


_NAMED: Final = f'" " + ", ".join(sorted({{}})[:{MAX_NAMED}])'
"""Code that names the first of some fields."""


def _keywords(generator: _Generator) -> dict[str, Any]:
    """The keywords of the schema that code is being written for.  A boolean schema has none."""
    definition: Any = generator._definition  # noqa: SLF001  # of the base class
    return definition if isinstance(definition, dict) else {}


class Check:
    """A compiled check.  `code` is the number of characters of its code, `places` that of its patterns.

    A call returns nothing for a value that fits.  Otherwise it raises JsonSchemaValueException for the first
    mismatch or, with `collect`, JsonSchemaValuesException with all of them; `field_of` names the field of one.
    It raises TooMuchWork when it is given up.  `work` is what it may spend together with other checks."""

    __slots__ = ("_function", "_memory", "_meter", "code", "places")

    def __init__(
        self, function: Callable[[Any], None], meter: Meter, memory: Memory, code: int, places: int
    ) -> None:
        self._function, self._meter, self._memory = function, meter, memory
        self.code, self.places = code, places

    def __call__(self, value: Any, work: Work | None = None) -> None:
        meter = self._meter
        meter.left = started = BUDGET if work is None else work.allowance
        try:
            self._function(value)
        finally:
            self._memory.end_check()
            if work is not None:
                work.left -= started - meter.left

    @property
    def size(self) -> int:
        """About how many bytes the check holds: its code, its patterns, and the sets that they keep."""
        return 4_000 + 12 * self.code + 500 * self.places + (64 * MAX_KEPT if self.places else 0)


def make(schema: dict[str, Any], *, collect: bool = False) -> Check:
    """Compile the check of a schema.  The library changes the schema that it is given.

    Raises Unsupported for a pattern and JsonSchemaDefinitionException for a schema that cannot be used.  A hostile
    schema can make the library raise any other exception too."""
    resolver = _Resolver(schema)
    generator = _Generator(schema, resolver, collect=collect)
    code = generator.func_code
    if len(code) > MAX_CODE:
        raise JsonSchemaDefinitionException("too large")
    meter, memory = Meter(), Memory()
    state = generator.global_state
    patterns = state["REGEX_PATTERNS"]
    ours = [name for name in patterns if not name.endswith(_FORMAT)]
    size = sum(map(places, ours))
    if size > MAX_PLACES:
        raise Unsupported(TOO_MANY)
    for name in patterns.keys() - set(ours):
        patterns[name] = _ShortTexts(patterns[name], meter.spend)
    for name in ours:
        patterns[name] = compile_pattern(name, meter.spend, memory)
    state["_spend"] = meter.spend
    tree = _Metering().visit(ast.parse(code))
    exec(compile(ast.fix_missing_locations(tree), "<schema>", "exec"), state)  # noqa: S102  # as the library does
    return Check(state[resolver.get_scope_name()], meter, memory, len(code), size)


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
