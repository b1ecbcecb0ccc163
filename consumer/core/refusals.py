"""Reading the error in a reply, in the shapes in which servers of chat completions and gateways write it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from consumer.core.outcome import AccountFault

# fmt: off
ACCOUNT_CODES: Final[dict[str, AccountFault]] = {
    "insufficient_quota": "unpaid",                 # OpenAI, as 429: no money is left, and waiting brings none
    "billing_hard_limit_reached": "unpaid",
    "credit_balance_exhausted": "unpaid",
    "organization_spend_limit_exceeded": "unpaid",
    "project_spend_limit_exceeded": "unpaid",
    "organization_usage_limit_exceeded": "unpaid",
    "enforced_spend_limit_reached": "unpaid",       # Anthropic, as 429: the limit of the month is used up
    "budget_exceeded": "unpaid",                    # LiteLLM, as 429: the budget of the key is used up
    "3036": "unpaid",                               # Workers AI, as 429: the free allowance of the day is used up
    "API_KEY_INVALID": "refused_key",               # Google, as 400, for a key that is wrong or has expired
}
"""Codes of errors that are about the account, whatever the status is."""
# fmt: on
ACCOUNT_STATUSES: Final[dict[int, AccountFault]] = {
    401: "refused_key",
    402: "unpaid",
    403: "refused_key",
}
"""Statuses that are about the account, unless the error says that it is about something else."""
FORBIDDEN: Final = 403
_ABOUT_TASK: Final = ("model", "content", "moderation", "policy", "safety")
"""Parts of codes, and of the name of a field, by which a refusal is about one task or its route: a template chooses the
model, and a task brings the content.  One task must not make a profile rest for all others."""


class Refusal(NamedTuple):
    """The error in a reply.

    `stated`: the reply has an error in the format of an API, and not just a status.  `codes`: what the server calls the
    error, the most precise first.  `sentence`: the server's words about it; empty if it has none.  `parameter`: the
    field of the request that is wrong, as far as the server names it.  `flagged`: it is about the content."""

    stated: bool
    codes: tuple[str, ...]
    sentence: str
    parameter: str
    flagged: bool = False

    def account_fault(self, status: int) -> AccountFault | None:
        """The fault of the account because of which the server refuses this call and every other one.

        A page without an error of the API may come from a firewall that dislikes this one request."""
        by_code = next((ACCOUNT_CODES[code] for code in self.codes if code in ACCOUNT_CODES), None)
        if by_code is not None:
            return by_code
        named = f"{self.parameter} {' '.join(self.codes)}".lower()
        about_task = self.flagged or any(word in named for word in _ABOUT_TASK)
        if about_task or (status == FORBIDDEN and not self.stated):
            return None
        return ACCOUNT_STATUSES.get(status)

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
    detailed = first(error.get("details")).get("reason")
    if isinstance(detailed, str):  # Google: more precise than its code, which is the status
        codes = (detailed, *codes)
    parameter = error.get("param")
    return Refusal(
        bool(stated),
        codes,
        _sentence(error, text),
        parameter if isinstance(parameter, str) else "",
        flagged=isinstance(details := error.get("metadata"), dict) and "flagged_input" in details,
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
