"""The keywords of JSON Schema that a template may use, and a walk over a schema that knows schemas from data.

The draft is 2020-12, with `items` as a list, `additionalItems`, `dependencies` and `definitions` of older drafts.  The
library that checks values knows the older words only, so the walk writes the newer ones in the older words, where both
say exactly the same.  Any other keyword is refused when a template is written: a keyword that is silently ignored looks
like a rule that holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from consumer.core.errors import BadInput, join

if TYPE_CHECKING:
    from collections.abc import Iterator

DRAFT: Final = "2020-12"
MAX_DEPTH: Final = 32
"""Levels of schemas in a schema."""
MAX_PATTERN: Final = 256
"""Characters of a pattern in a schema."""

ONE: Final = frozenset(
    "items additionalItems contains additionalProperties propertyNames not if then else".split()
)
"""Keywords whose value is a schema.  `items` may be a list of schemas too."""
LISTS: Final = frozenset("allOf anyOf oneOf prefixItems".split())
"""Keywords whose value is a list of schemas."""
MAPS: Final = frozenset(
    "properties patternProperties dependencies dependentSchemas $defs definitions".split()
)
"""Keywords whose value is an object of schemas.  `dependencies` may hold lists of names too."""
VALUES: Final = frozenset(
    (
        "type enum const format pattern minLength maxLength minimum maximum exclusiveMinimum exclusiveMaximum"
        " multipleOf minItems maxItems uniqueItems required minProperties maxProperties dependentRequired $ref"
    ).split()
)
"""Keywords whose value is data and is checked."""
ANNOTATIONS: Final = frozenset(
    (
        "title description default examples deprecated readOnly writeOnly $comment $schema contentEncoding"
        " contentMediaType"
    ).split()
)
"""Keywords that describe and check nothing."""
WORDS: Final = frozenset(("title", "description"))
"""Annotations that a sentence about a wrong value may repeat."""
KNOWN: Final = ONE | LISTS | MAPS | VALUES | ANNOTATIONS
DRAFTS: Final = (
    "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "http://json-schema.org/draft-07/schema",
    "http://json-schema.org/draft-06/schema",
)
INSTEAD: Final = {
    "$id": "must be left out: a schema here has no address of its own",
    "id": "must be left out: a schema here has no address of its own",
    "nullable": 'is not JSON Schema: write "type": ["string", "null"]',
    "$dynamicRef": "is not checked here: use $ref",
    "$anchor": 'is not checked here: a reference is a path such as "#/$defs/name"',
    "unevaluatedProperties": "is not checked here: use additionalProperties",
    "unevaluatedItems": "is not checked here: use items behind prefixItems",
}
"""What to write instead of a keyword that is refused."""


class Walk:
    """One walk over a schema.  `schema` is what the library is given, `patterns` are all patterns with their places.

    With `strict`, whatever a template must not have is refused.  Without it, for a row that another application wrote,
    unknown keywords are left out and the library decides about the rest."""

    def __init__(self, schema: dict[str, Any], field: str, *, strict: bool) -> None:
        self.strict = strict
        self.patterns: list[tuple[str, str]] = []
        self._references: list[tuple[str, str]] = []
        self._nodes: dict[int, Any] = {}
        self.schema: Any = self._node(schema, field, 0)
        if strict:
            for where, reference in self._references:
                self._check_reference(reference, where)

    def _node(self, node: Any, field: str, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise BadInput(field, f"must be nested at most {MAX_DEPTH} levels deep")
        if isinstance(node, bool):
            return node
        if not isinstance(node, dict):
            self._refuse(field, "must be a JSON Schema: an object, true or false")
            return node
        made: dict[str, Any] = {}
        for key, value in node.items():
            where = join(field, str(key))
            if key not in KNOWN:
                instead = (
                    f"is not a keyword of JSON Schema {DRAFT} that is checked here: see docs/templates.md"
                )
                self._refuse(where, INSTEAD.get(key, instead))
            elif key in ANNOTATIONS:
                self._check_annotation(key, value, where)
                if key in WORDS and isinstance(value, str):
                    made[key] = value
            else:
                made[key] = self._value(key, value, where, depth + 1)
        made = self._in_older_words(made, field)
        self._nodes[id(made)] = made
        return made

    def _value(self, key: str, value: Any, field: str, depth: int) -> Any:
        """The value of a keyword: its schemas are walked over, and data is taken as it is."""
        if key in LISTS or (key == "items" and isinstance(value, list)):
            if isinstance(value, list):
                return [self._node(each, f"{field}[{index}]", depth + 1) for index, each in enumerate(value)]
            self._refuse(field, "must be a list of schemas")
        elif key in MAPS:
            return self._map(key, value, field, depth)
        elif key in ONE:
            return self._node(value, field, depth)
        elif key == "pattern":
            self._pattern(value, field)
        elif key == "$ref":
            self._reference(value, field)
        return value

    def _map(self, key: str, value: Any, field: str, depth: int) -> Any:
        if not isinstance(value, dict):
            self._refuse(field, "must be an object of schemas")
            return value
        made: dict[str, Any] = {}
        for name, each in value.items():
            if key == "patternProperties":
                self._pattern(name, field)
            is_list = key == "dependencies" and isinstance(each, list)
            made[name] = each if is_list else self._node(each, join(field, str(name)), depth + 1)
        return made

    def _pattern(self, value: Any, field: str) -> None:
        if not isinstance(value, str):
            self._refuse(field, "must be a regular expression as text")
        elif len(value) > MAX_PATTERN:
            self._refuse(field, f"must have patterns of at most {MAX_PATTERN} characters")
        if isinstance(value, str):
            self.patterns.append((field, value))

    def _reference(self, value: Any, field: str) -> None:
        if not isinstance(value, str) or not value.startswith("#"):
            self._refuse(field, "must begin with #: a reference cannot leave the schema")
        else:
            self._references.append((field, value))

    def _check_annotation(self, key: str, value: Any, field: str) -> None:
        if key == "$schema" and (not isinstance(value, str) or value.removesuffix("#") not in DRAFTS):
            self._refuse(field, f"must be {DRAFTS[0]}, which is what is checked, or be left out")

    def _check_reference(self, reference: str, field: str) -> None:
        """Raises BadInput where a reference leads to no schema: nowhere, or to data."""
        node: Any = self.schema
        for part in _path(reference):
            if isinstance(node, list) and part.isdecimal() and len(part) < 9:
                node = node[int(part)] if int(part) < len(node) else None
            else:
                node = node.get(part) if isinstance(node, dict) else None
        if not isinstance(node, bool) and id(node) not in self._nodes:
            raise BadInput(field, 'must lead to a schema in this schema, as "#/$defs/name" does')

    def _refuse(self, field: str, why: str) -> None:
        if self.strict:
            raise BadInput(field, why)

    def _in_older_words(self, node: dict[str, Any], field: str) -> dict[str, Any]:
        """The same schema without `prefixItems`, `dependentRequired` and `dependentSchemas`.

        No checked keyword stands beside a `$ref`, because the older drafts ignore it there."""
        made = dict(node)
        if "prefixItems" in made:
            if isinstance(made.get("items"), list) or "additionalItems" in made:
                self._refuse(
                    field, "must have either prefixItems with one schema as items, or a list as items"
                )
            first = made.pop("prefixItems")
            if "items" in made:
                made["additionalItems"] = made.pop("items")
            made["items"] = first
        newer = [word for word in ("dependentRequired", "dependentSchemas") if word in made]
        more = [{"dependencies": made.pop(word)} for word in newer]
        if "$ref" in made:
            kept = {word: made.pop(word) for word in ("$defs", "definitions") if word in made}
            reference = {"$ref": made.pop("$ref")}
            if not (made.keys() - WORDS or more):
                return reference | kept
            made = {"allOf": [reference, made]} | kept
        if more:
            made["allOf"] = [*made.get("allOf", ()), *more]
        return made


def _path(reference: str) -> Iterator[str]:
    """The names in a reference such as `#/$defs/name`."""
    for part in unquote(reference.removeprefix("#")).split("/")[1:]:
        yield part.replace("~1", "/").replace("~0", "~")
