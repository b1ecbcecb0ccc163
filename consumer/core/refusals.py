"""Reading the error in a reply, in the shapes in which servers of chat completions and gateways write it."""

from __future__ import annotations

from typing import Any, NamedTuple


class Refusal(NamedTuple):
    """The error in a reply.

    `stated`: the reply has an error in the format of an API, and not just a status.  `codes`: what the server calls the
    error, the most precise first.  `sentence`: the server's words about it; empty if it has none.  `parameter`: the
    field of the request that is wrong, as far as the server names it."""

    stated: bool
    codes: tuple[str, ...]
    sentence: str
    parameter: str

    @property
    def name(self) -> str:
        """The most precise code that is a word, or else a number; empty if there is none."""
        return next((code for code in self.codes if not code.isdecimal()), next(iter(self.codes), ""))

    @property
    def about_schema(self) -> bool:
        """Whether it is about the schema that answers must fit."""
        named = f"{self.parameter} {' '.join(self.codes)} {self.sentence}".lower()
        return any(word in named for word in ("response_format", "schema", "strict"))


def read_refusal(data: dict[str, Any], text: str) -> Refusal:
    """The error in a reply.  `data`: its JSON object, empty if it is none.  `text`: the reply as it came."""
    stated = _error(data)
    error = stated or data
    codes = tuple(
        str(error[key]) for key in ("code", "type", "status") if isinstance(error.get(key), str | int)
    )
    parameter = error.get("param")
    return Refusal(
        bool(stated), codes, _sentence(error, text), parameter if isinstance(parameter, str) else ""
    )


def _error(data: dict[str, Any]) -> dict[str, Any]:
    """The error object, from one of the places where servers put it; empty if there is none."""
    found = data.get("error") or first(data.get("choices")).get("error") or first(data.get("errors"))
    if found:
        return found if isinstance(found, dict) else {"message": found}
    return data if data.get("object") == "error" else {}


def _sentence(error: dict[str, Any], text: str) -> str:
    for said in (error.get("message"), error.get("error"), error.get("detail")):
        if isinstance(said, str) and said:
            return said
    wrong = first(error.get("detail"))  # FastAPI: the first of the fields that are wrong
    if isinstance(wrong.get("msg"), str):
        places = wrong.get("loc")
        return f"{'.'.join(map(str, places)) if isinstance(places, list) else ''} {wrong['msg']}".strip()
    return "" if error else text


def first(value: Any) -> dict[str, Any]:
    """The first object of a list; empty if it has none."""
    return value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else {}
