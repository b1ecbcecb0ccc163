"""A JSON API as a profile describes it: its requests, and the places of everything in its replies.

A description that cannot work is refused when the deployment starts, with the name of the field.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field

from consumer.core.errors import BadInput
from consumer.core.fill import names_in, texts_in, without_placeholders
from consumer.core.model import Model
from consumer.core.pointer import Pointer, find

if TYPE_CHECKING:
    from consumer.core.profile import Account

Ending = Literal["failed", "retry", "unknown"]
Scalar = str | int | float | bool
Words = Annotated[tuple[Scalar, ...], Field(max_length=50)]


class RequestTemplate(Model):
    """A request.  `{{names}}` in its path, headers and body are filled in for each call."""

    method: Literal["POST", "GET", "PUT", "PATCH", "DELETE"] = "POST"
    path: str = Field(pattern=r"^/[^\s#]*$", max_length=2_000)
    """Behind the `base_url` of the profile."""
    headers: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")], str] = Field(
        default_factory=dict
    )
    body: dict[str, Any] | None = None


class Match(Model):
    """A place, and the values there that count; without `equals`, any value that is not empty."""

    at: Pointer
    equals: Annotated[tuple[Scalar, ...], Field(min_length=1, max_length=50)] | None = None

    def holds(self, value: Any) -> bool:
        """Whether a reply has one of these values there."""
        found = find(value, self.at)
        return bool(found) if self.equals is None else found in self.equals


class States(Model):
    """The state of a job: its place, and what each of its words means."""

    at: Pointer
    succeeded: Annotated[Words, Field(min_length=1)]
    working: Words = ()
    failed: Words = ()
    cancelled: Words = ()

    def of(self, value: Any) -> str | None:
        """The state in a reply, by the name of its field here; None if its word is not listed."""
        found = find(value, self.at)
        listed = ("succeeded", "working", "failed", "cancelled")
        return next((name for name in listed if found in getattr(self, name)), None)


class ErrorPlaces(Model):
    """Where a reply names its error."""

    code: Pointer | None = None
    message: Pointer | None = None


class CostPlace(Model):
    """A number in the reply, or in one of its headers, that is the charge in units of `dollars`."""

    at: Pointer | None = None
    header: str | None = None
    dollars: Annotated[Decimal, Field(gt=0, le=1_000_000, allow_inf_nan=False)] = Decimal(1)
    """The dollars of one unit: of a second, of a credit, of a thousandth of a cent."""


class Description(Model):
    """The options of a profile of the adapter `http`."""

    kind: Literal["ai", "human"] = "ai"
    """Whether a person or a system does the work."""
    submit: RequestTemplate
    """The request that has the work done."""
    poll: RequestTemplate | None = None
    """The request that reports on a job."""
    cancel: RequestTemplate | None = None
    """The request that ends a job."""
    answer: Pointer
    """The answer: JSON, a text with JSON in it, or a list of the parts of such a text."""
    job: Pointer | None = None
    """The API's own name for a job."""
    state: States | None = None
    """The state of a job.  Without it, 202 means that the API works on it, and any other success brings the answer."""
    model: Pointer | None = None
    """The model that answered."""
    input_tokens: Pointer | None = None
    """The number of tokens that the model read."""
    output_tokens: Pointer | None = None
    """The number of tokens that the model wrote."""
    cost: CostPlace | None = None
    """What the API says that it charged."""
    refusal: Match | None = None
    """The model refused: the answer is no answer."""
    truncated: Match | None = None
    """The answer was cut at the limit of output tokens."""
    error: ErrorPlaces | None = None
    """The error.  Without it, the places where most APIs have it."""
    codes: dict[str, Ending] = Field(default_factory=dict)
    """What codes of errors mean."""
    statuses: dict[Annotated[str, Field(pattern=r"^[345][0-9]{2}$")], Ending] = Field(default_factory=dict)
    """What statuses mean, where it differs from the table of docs/providers.md."""
    honours_key: bool = False
    """Whether the API does the work once when it gets the same `{{key}}` twice."""
    poll_after_ms: int = Field(default=2_000, ge=0, le=86_400_000)
    """The wait before the first poll, in milliseconds."""

    @property
    def uses(self) -> set[str]:
        """The names of the placeholders of the submission."""
        return names_in([self.submit.path, self.submit.headers, self.submit.body])

    @property
    def calls_back(self) -> bool:
        """Whether the API gets the callback address."""
        return "callback_url" in self.uses

    @property
    def places_secret(self) -> bool:
        """Whether a header has a place for the key."""
        return any("secret" in names_in(one.headers) for one in self.requests.values())

    def needs_job(self, name: str) -> bool:
        """Whether a request is about a job by the API's own name for it."""
        request = self.requests.get(name)
        return request is not None and "job" in names_in([request.path, request.body])

    @property
    def requests(self) -> dict[str, RequestTemplate]:
        """The requests that are described, by their fields."""
        found = {"submit": self.submit, "poll": self.poll, "cancel": self.cancel}
        return {name: one for name, one in found.items() if one is not None}


TASK: Final = (
    "prompt", "messages", "input", "previous", "title", "description", "schema", "system", "model", "max_output_tokens",
    "temperature", "parameters", "feedback", "draft", "deadline", "callback_url",
)  # fmt: skip
"""What a submission can say, beside `key` and `secret`."""
_ABOUT: Final = frozenset({"prompt", "messages", "input", "previous", "description"})
"""The placeholders of which a submission needs one: without any, every task would be the same."""
_OF_TRANSPORT: Final = frozenset({"host", "content-length", "transfer-encoding", "connection"})


def check_description(description: Description, account: Account) -> None:
    """Raises BadInput naming the field of the profile with which the description cannot work."""
    if "?" in (account.profile.base_url or ""):
        raise BadInput("base_url", "must have no query: write it into the `path` of each request")
    for name, request in description.requests.items():
        _check_request(request, f"options.{name}", is_submit=name == "submit")
    _check_submit(description)
    _check_jobs(description, account)
    _check_money(description, account)
    if description.places_secret and account.key is None:
        raise BadInput("key", "must name the secret that {{secret}} in a header stands for")


def _check_request(request: RequestTemplate, field: str, *, is_submit: bool) -> None:
    known = {"key", "secret", *(TASK if is_submit else ("job",))}
    _check_placeholders(request.path, f"{field}.path", known - {"secret"})
    _check_placeholders(request.body, f"{field}.body", known - {"secret"})
    _check_placeholders(request.headers, f"{field}.headers", known & {"key", "secret"})
    for name, value in request.headers.items():
        if name.lower() in _OF_TRANSPORT or not (value.isascii() and value.isprintable()):
            raise BadInput(
                f"{field}.headers.{name}", "must be one line of ASCII, and no header of the connection"
            )
    if request.method == "GET" and request.body is not None:
        raise BadInput(f"{field}.body", "must be left out: GET has no body")
    parts = request.path.partition("?")[0].split("/")
    if any(part and not part.strip(".") for part in parts):
        raise BadInput(f"{field}.path", "must have no parts `.` and `..`")


def _check_placeholders(template: Any, field: str, known: set[str]) -> None:
    """A secret may stand in headers only: addresses are logged, and errors repeat the bodies of requests."""
    for place, text in texts_in(template, field):
        rest = without_placeholders(text)
        if "{{" in rest or "}}" in rest:
            raise BadInput(place, "has two braces that are no placeholder: write {{name}}")
        for name in sorted(names_in(text)):
            root, dot, _ = name.partition(".")
            if root not in known or (dot and root != "parameters"):
                shown = ", ".join(sorted(known))
                raise BadInput(place, f"must not use {{{{{name}}}}}: the placeholders here are {shown}")


def _check_submit(description: Description) -> None:
    if not description.uses & _ABOUT:
        wanted = ", ".join(f"{{{{{name}}}}}" for name in sorted(_ABOUT))
        raise BadInput("options.submit.body", f"must hold one of {wanted}, or every task would be the same")
    if description.honours_key and "key" not in description.uses:
        raise BadInput(
            "options.honours_key", "needs {{key}} in submit: without it, the API cannot know the call"
        )


def _check_jobs(description: Description, account: Account) -> None:
    for name in ("poll", "cancel"):
        request = description.requests.get(name)
        if request is not None and not names_in([request.path, request.body]) & {"job", "key"}:
            raise BadInput(f"options.{name}", "must hold {{job}} or {{key}}, or it would be about no job")
        if description.needs_job(name) and description.job is None:
            raise BadInput("options.job", f"must say where a reply has the {{{{job}}}} that {name} needs")
    ends = description.poll is not None or description.calls_back
    if description.state is not None and description.state.working and not ends:
        raise BadInput(
            "options.poll", "must be given, or {{callback_url}} in submit: a job that works would never end"
        )
    named = account.profile.webhook_secret is not None
    if description.calls_back and not named:
        raise BadInput("webhook_secret", "must name the secret that signs the calls to {{callback_url}}")
    if named and not description.calls_back:
        raise BadInput("webhook_secret", "must be left out: no request holds {{callback_url}}")


def _check_money(description: Description, account: Account) -> None:
    cost, price, profile = description.cost, account.profile.price, account.profile
    if cost is not None and (cost.at is None) == (cost.header is None):
        raise BadInput("options.cost", "must have `at` or `header`, and not both")
    counted = {
        "input_tokens": price and price.input_per_million,
        "output_tokens": price and price.output_per_million,
    }
    for name, rate in counted.items():
        if (rate or profile.price_book is not None) and getattr(description, name) is None and cost is None:
            raise BadInput(
                f"options.{name}", "must say where a reply has them: the price of the profile counts them"
            )
