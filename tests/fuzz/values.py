"""Hostile input: requests that are valid by the OpenAPI document and then spoilt; schemas that are slow to check."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from hypothesis import strategies as st

from consumer.web.app import OPERATIONS
from consumer.web.openapi import PARAMETERS
from tests.support.deployment import ROLES, described
from tests.support.hostile_requests import NOT_JSON, NUMBERS, TEXTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hypothesis.strategies import DrawFn, SearchStrategy

    from consumer.web.operation import Operation

CANARY: Final = "canary-of-a-payload-7f3a91"
"""A text that is planted into requests and must not be in the log."""
KEYS: Final = (None, "bizq_x_y", f"bizq_{CANARY}", *ROLES, "foreign")
LONG: Final = 20_000

numbers: Final = st.integers(0, 2**63)
texts: Final = st.one_of(st.text(max_size=30), st.sampled_from(TEXTS), st.just(CANARY))
anything: Final = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts, st.sampled_from(NUMBERS)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@dataclass(frozen=True, slots=True)
class Request:
    """One request.  `key` names a key of the deployment."""

    method: str
    path: str
    body: bytes | None
    key: str | None
    headers: Mapping[str, str] = field(default_factory=dict)


def spoil(value: Any, dice: random.Random) -> Any:
    """The same request with a few parts changed."""
    for _ in range(dice.choice([0, 1, 1, 2, 4])):
        value = _spoilt(value, dice)
    return value


def _spoilt(value: Any, dice: random.Random) -> Any:
    if isinstance(value, dict) and value and dice.random() < 0.9:
        name = dice.choice(list(value))
        match dice.randrange(8):
            case 0:
                return {key: part for key, part in value.items() if key != name}
            case 1:
                return {**value, dice.choice([CANARY, *TEXTS]): value[name]}
            case _:
                return {**value, name: _spoilt(value[name], dice)}
    if isinstance(value, list) and value and dice.random() < 0.9:
        place = dice.randrange(len(value))
        return [*value[:place], _spoilt(value[place], dice), *value[place + 1 :]]
    return dice.choice([CANARY, CANARY, *TEXTS, *NUMBERS, value, [value], {"a": value}, "x" * LONG])


def written(value: Any) -> bytes:
    """JSON as Python writes it, NaN and half surrogates included."""
    return json.dumps(value).encode()


def scrambled(data: bytes, dice: random.Random) -> bytes:
    """Mostly the same bytes; sometimes cut, doubled, or with other bytes inside."""
    place = dice.randrange(len(data) + 1)
    match dice.randrange(12):
        case 0:
            return data[:place]
        case 1:
            return data[:place] + dice.randbytes(3) + data[place:]
        case 2:
            return data + data
        case 3:
            return dice.choice(list(NOT_JSON.values()))
        case _:
            return data


def from_schema(schema: Mapping[str, Any]) -> SearchStrategy[Any]:  # noqa: C901, PLR0911  # one for each kind
    """Values, most of which a part of the document allows."""
    match schema:
        case {"$ref": str(name)}:
            return of_schema(name.rpartition("/")[2])
        case {"anyOf": list(parts)} | {"oneOf": list(parts)}:
            return st.one_of([from_schema(part) for part in parts])
        case {"enum": list(members)}:
            return st.sampled_from(members)
        case {"const": value}:
            return st.just(value)
        case {"type": list(kinds)}:
            return st.one_of([from_schema({**schema, "type": kind}) for kind in kinds])
        case {"type": "object"}:
            return _object(schema)
        case {"type": "array"}:
            least = schema.get("minItems", 0)
            return st.lists(from_schema(schema.get("items", {})), min_size=least, max_size=least + 2)
        case {"type": "integer" | "number"}:
            least = schema.get("minimum", 0)
            return st.integers(least, least + 5) | st.integers(least, schema.get("maximum", 2**53))
        case {"type": "string", "pattern": str(pattern)}:
            return st.sampled_from(["echo", "inbox"]) | st.from_regex(pattern, fullmatch=True)
        case {"type": "string"}:
            return texts | st.sampled_from(["1", "0.5", "2030-01-01", "2030-01-01T00:00:00Z"])
        case {"type": "boolean"}:
            return st.booleans()
        case {"type": "null"}:
            return st.none()
    return anything


def _object(schema: Mapping[str, Any]) -> SearchStrategy[dict[str, Any]]:
    named = {name: from_schema(part) for name, part in schema.get("properties", {}).items()}
    required = {name: named[name] for name in schema.get("required", ()) if name in named}
    if not named:
        return st.dictionaries(texts, anything, max_size=3)
    return st.fixed_dictionaries(
        required, optional={n: part for n, part in named.items() if n not in required}
    )


@lru_cache(maxsize=100)
def of_schema(name: str) -> SearchStrategy[Any]:
    """Values, most of which one of the document's schemas allows."""
    return from_schema(described()["components"]["schemas"][name])


@st.composite
def requests(draw: DrawFn, tokens: tuple[str, ...] = ()) -> Request:
    """A request for one of the operations."""
    operation: Operation = draw(st.sampled_from(OPERATIONS))
    dice = random.Random(draw(numbers))  # noqa: S311  # of the example
    known = {"id": "1", "profile": "echo", "token": dice.choice(tokens or ("t",))}
    path = operation.path
    for name, usual in known.items():
        part = usual if dice.random() < 0.7 else str(draw(texts | st.sampled_from(NUMBERS)))
        path = path.replace(f"{{{name}}}", quote(part, safe="", errors="replace") or "x")
    query = "&".join(_query(draw, dice, name) for name in operation.query or () if dice.random() < 0.5)
    body = None
    headers = {}
    if operation.body and dice.random() < 0.97:
        value = draw(of_schema(operation.body)) if dice.random() < 0.85 else draw(anything)
        body = _body(operation.body, value, draw, dice)
        headers["content-type"] = "application/json" if operation.body != "Answer" else FORM
    if dice.random() < 0.05:
        headers["content-type"] = dice.choice(
            [FORM, "text/html", "application/json; charset=latin-1", "\xe9"]
        )
    if dice.random() < 0.05:
        headers["if-none-match"] = dice.choice(['"', "*", 'W/"x"', CANARY])
    method = operation.method if dice.random() < 0.97 else dice.choice(["DELETE", "HEAD", "PUT", "PATCH"])
    key = operation.role if operation.role and dice.random() < 0.7 else dice.choice(KEYS)
    address = f"{path}?{query}" if query else path
    return Request(method, address, body, key, {name: ascii(text)[1:-1] for name, text in headers.items()})


FORM: Final = "application/x-www-form-urlencoded"


def _query(draw: DrawFn, dice: random.Random, name: str) -> str:
    schema = PARAMETERS[name]["schema"]
    value = draw(from_schema(schema)) if dice.random() < 0.6 else draw(texts)
    return f"{name}={quote(str(value), safe='', errors='replace')}"


def _body(name: str, value: Any, draw: DrawFn, dice: random.Random) -> bytes:
    if name == "Answer":
        pairs = value.items() if isinstance(value, dict) else [("a", value)]
        return "&".join(
            f"{quote(str(a), errors='replace')}={quote(str(b), errors='replace')}" for a, b in pairs
        ).encode()
    if isinstance(value, dict) and "output_schema" in value and dice.random() < 0.8:
        value["output_schema"] = {"type": "object", "properties": {"a": draw(schemas)}}
        value["route"] = {"stages": [{"kind": "ai", "candidates": [{"profile": "echo"}]}]}
    if isinstance(value, dict) and "template" in value and dice.random() < 0.7:
        value["template"] = 1
    return scrambled(written(spoil(value, dice)), dice)


# --- schemas -----------------------------------------------------------------------------------------------

PATTERNS: Final = (
    *("^a+$", "(a+)+$", "(a|a)*$", "(a|aa)+$", "^(a*)*b", "([a-z]+)*1", "(.*)*x", "(.*a){12}", "(x+x+)+y"),
    *(
        "a{1,200}b{1,200}",
        "^[a-z]+(-[a-z]+)*$",
        r"^\d{4}-\d{2}-\d{2}$",
        r"^[^@]+@[^@]+\.[^@]+$",
        "^(?:[A-Z]{2})?$",
    ),
    *(
        "(?i)abc",
        r"\bfoo\b",
        "",
        "^$",
        "(?=a)b",
        r"(a)\1",
        "(",
        "[",
        "a{2,1}",
        "x" * 300,
        r"\p{L}",
        "(?P<n>a)",
    ),
    *("(?<=a)b", "(?>a+)b", "a*+b", "é+$", "[^\\s]", "$"),
)
FORMATS: Final = (
    *(
        "date-time",
        "email",
        "hostname",
        "ipv4",
        "ipv6",
        "uri",
        "json-pointer",
        "uri-reference",
        "uri-template",
    ),
    *("date", "iri", "iri-reference", "idn-email", "idn-hostname", "relative-json-pointer", "time", "uuid"),
    *("duration", "regex", "nothing"),
)
NAMES: Final = ("a", "b", "{", "}", "a{b", '"', "'", "\\", "\n", "data", "x.y", "{data}", "", "$ref", CANARY)
KEYWORDS: Final = tuple(
    """type enum const minimum maximum multipleOf minLength maxLength pattern format items minItems uniqueItems
    contains properties required additionalProperties patternProperties propertyNames dependencies anyOf oneOf allOf
    not if then else $ref contentMediaType contentEncoding minProperties additionalItems default $schema""".split()
)


def _parts(inner: SearchStrategy[Any]) -> dict[str, SearchStrategy[Any]]:
    """The usual values of each keyword."""
    kinds = st.sampled_from(["string", "number", "integer", "object", "array", "boolean", "null"])
    some, count = st.lists(inner, min_size=1, max_size=3), st.integers(-1, 100)
    named = st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
    known: dict[str, SearchStrategy[Any]] = {
        **dict.fromkeys(("anyOf", "oneOf", "allOf"), some),
        **dict.fromkeys(("properties", "dependencies"), named),
        **dict.fromkeys(("items", "contains", "not", "if", "then", "else", "propertyNames"), inner),
        **dict.fromkeys(("additionalProperties", "additionalItems"), inner | st.booleans()),
        **dict.fromkeys(("minLength", "maxLength", "minItems", "minProperties"), count),
        **dict.fromkeys(("minimum", "maximum", "multipleOf"), count | st.floats()),
        "type": kinds | st.lists(kinds, max_size=2),
        "enum": st.lists(anything, max_size=3),
        "const": anything,
        "pattern": st.sampled_from(PATTERNS) | st.text(alphabet="a(b|)*+?[^]{1,2}$.\\d", max_size=12),
        "patternProperties": st.dictionaries(st.sampled_from(PATTERNS), inner, max_size=2),
        "format": st.sampled_from(FORMATS),
        "uniqueItems": st.booleans(),
        "required": st.lists(st.sampled_from(NAMES), max_size=2),
        "$ref": st.sampled_from(["#", "#/properties/a", "#/nowhere", "#a", "http://127.0.0.1:1/"]),
        "contentMediaType": st.just("application/json"),
        "contentEncoding": st.just("base64"),
        "default": anything,
        "$schema": texts,
    }
    assert known.keys() == set(KEYWORDS)
    return {name: strategy | anything if name != "$ref" else strategy for name, strategy in known.items()}


@st.composite
def _node(draw: DrawFn, inner: SearchStrategy[Any]) -> dict[str, Any]:
    chosen = draw(st.lists(st.sampled_from(KEYWORDS), max_size=4, unique=True))
    parts = _parts(inner)
    dice = random.Random(draw(numbers))  # noqa: S311  # of the example
    return {name: draw(parts[name]) if dice.random() < 0.9 else draw(anything) for name in chosen}


schemas: Final = st.recursive(st.booleans() | _node(st.just({})), _node, max_leaves=6)
"""Parts of a schema, some of them wrong."""

values: Final = st.one_of(
    anything,
    st.sampled_from(
        [
            "a" * LONG,
            "a" * LONG + "!",
            "x" * LONG,
            "a" * 40 + "!",
            "@" * LONG,
            "1" * LONG,
            "a." * (LONG // 2),
            "[" * LONG,
        ]
    ),
    st.builds(lambda count: ["a"] * count, st.integers(0, 3_000)),
)
"""Values that are checked against the schemas."""
