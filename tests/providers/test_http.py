"""Descriptions of APIs: those that cannot work are refused with the field, and the others keep to their words."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any, Final

import httpx2
import pytest

from consumer.core.errors import BadInput
from consumer.core.money import FREE, UNKNOWN, Cost
from consumer.core.outcome import Accepted, Failed, Outcome, Retry, Succeeded, Unknown
from consumer.core.profile import Account, Profile
from consumer.execution.prices import cost_of_call
from consumer.provider import BadSignature, Provider, Reply, Verb
from providers import PROVIDERS
from tests.fixtures import http as replicate
from tests.support.adapters import KEY, NOW_MS, make_call

HTTP: Final = PROVIDERS["http"]
HOOK: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PLAIN: Final[dict[str, Any]] = {
    "submit": {"path": "/run", "body": {"text": "{{prompt}}"}},
    "answer": "/answer",
}
JOBS: Final[dict[str, Any]] = replicate.PROFILE["options"]


def account(
    options: dict[str, Any], *, hook: str | None = None, key: str | None = KEY, **more: Any
) -> Account:
    fields = {"base_url": "https://api.example.com/v1", **more}
    profile = Profile(provider="http", options=options, webhook_secret=hook and "HOOK", **fields)
    return Account("test", profile, key=key, webhook_secret=hook)


def changed(options: dict[str, Any], change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    copy = deepcopy(options)
    change(copy)
    return copy


def adapter(options: dict[str, Any], **more: Any) -> Provider:
    there = account(options, **more)
    HTTP.check(there)
    return HTTP.of(there)


def request(
    options: dict[str, Any], verb: Verb = Verb.SUBMIT, settings: Any = None, **call: Any
) -> httpx2.Request:
    there = account(options)
    made = HTTP.of(there).request(
        make_call(HTTP, {"model": "m", **(settings or {})}, account=there, **call), verb
    )
    assert isinstance(made, httpx2.Request)
    return made


def meant(options: dict[str, Any], status: int, body: Any, verb: Verb = Verb.SUBMIT, **more: Any) -> Outcome:
    there = adapter(options, **more)
    call = make_call(HTTP, {"model": "m"}, account=account(options))
    return there.reply(call, verb, Reply(status, {}, json.dumps(body).encode()))


WRONG: Final[list[tuple[str, Callable[[dict[str, Any]], object], str]]] = [
    ("no answer", lambda o: o.pop("answer"), r"^options\.answer: "),
    ("no submit", lambda o: o.pop("submit"), r"^options\.submit: "),
    ("a typo", lambda o: o.update(polling={}), r"^options\.polling: is not a known field"),
    (
        "another language of paths",
        lambda o: o.update(answer="$.answer"),
        r"^options\.answer: must be a JSON Pointer",
    ),
    ("a kind", lambda o: o.update(kind="robot"), r"^options\.kind: "),
    ("a path", lambda o: o["submit"].update(path="run"), r"^options\.submit\.path: "),
    (
        "a path upwards",
        lambda o: o["submit"].update(path="/../admin"),
        r"^options\.submit\.path: must have no parts",
    ),
    (
        "an unknown placeholder",
        lambda o: o["submit"]["body"].update(x=["{{promt}}"]),
        r"^options\.submit\.body\.x\[0\]: must not use \{\{promt\}\}: the placeholders here are ",
    ),
    (
        "half a placeholder",
        lambda o: o["submit"]["body"].update(x="{{in put}}"),
        r"^options\.submit\.body\.x: has two braces",
    ),
    (
        "a path of a value",
        lambda o: o["submit"]["body"].update(x="{{input.a}}"),
        r"^options\.submit\.body\.x: must not use",
    ),
    (
        "a job before there is one",
        lambda o: o["submit"]["body"].update(x="{{job}}"),
        r"^options\.submit\.body\.x: ",
    ),
    (
        "a secret in a body",
        lambda o: o["submit"]["body"].update(x="{{secret}}"),
        r"^options\.submit\.body\.x: ",
    ),
    ("a secret in a path", lambda o: o["submit"].update(path="/{{secret}}"), r"^options\.submit\.path: "),
    (
        "a prompt in a header",
        lambda o: o["submit"].update(headers={"x-a": "{{prompt}}"}),
        r"^options\.submit\.headers\.x-a: ",
    ),
    (
        "a header of the connection",
        lambda o: o["submit"].update(headers={"Host": "a"}),
        r"^options\.submit\.headers\.Host: ",
    ),
    (
        "a header of two lines",
        lambda o: o["submit"].update(headers={"x-a": "a\r\nb"}),
        r"^options\.submit\.headers\.x-a: ",
    ),
    (
        "the same for every task",
        lambda o: o["submit"].update(body={"text": "hello"}),
        r"^options\.submit\.body: must hold one of",
    ),
    (
        "a GET with a body",
        lambda o: o["submit"].update(method="GET"),
        r"^options\.submit\.body: must be left out",
    ),
    (
        "a key that is not sent",
        lambda o: o.update(honours_key=True),
        r"^options\.honours_key: needs \{\{key\}\}",
    ),
    ("a poll about nothing", lambda o: o.update(poll={"path": "/jobs"}), r"^options\.poll: must hold"),
    (
        "a poll without a name",
        lambda o: o.update(poll={"path": "/jobs/{{job}}"}),
        r"^options\.job: must say where",
    ),
    (
        "a job that never ends",
        lambda o: o.update(state={"at": "/s", "succeeded": ["done"], "working": ["busy"]}),
        r"^options\.poll: must be given",
    ),
    (
        "a state without success",
        lambda o: o.update(state={"at": "/s", "succeeded": []}),
        r"^options\.state\.succeeded: ",
    ),
    ("a cost without a place", lambda o: o.update(cost={}), r"^options\.cost: must have `at` or `header`"),
    (
        "a cost in two places",
        lambda o: o.update(cost={"at": "/c", "header": "c"}),
        r"^options\.cost: must have",
    ),
    ("a negative unit", lambda o: o.update(cost={"at": "/c", "dollars": "-1"}), r"^options\.cost\.dollars: "),
    ("a meaning", lambda o: o.update(codes={"busy": "again"}), r"^options\.codes\.busy: "),
    ("a success with a meaning", lambda o: o.update(statuses={"200": "failed"}), r"^options\.statuses\.200"),
    (
        "a webhook without a secret",
        lambda o: o["submit"]["body"].update(x="{{callback_url}}"),
        r"^webhook_secret: must name",
    ),
]


@pytest.mark.parametrize(("change", "message"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_description_that_cannot_work_is_refused(
    change: Callable[[dict[str, Any]], object], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        HTTP.check(account(changed(PLAIN, change)))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"price": {"output_per_million": "1"}}, r"^options\.output_tokens: must say where"),
        ({"price_book": "openai"}, r"^options\.input_tokens: must say where"),
        ({"hook": HOOK}, r"^webhook_secret: must be left out: no request holds"),
        ({"base_url": "https://api.example.com/v1?version=2"}, r"^base_url: must have no query"),
    ],
)
def test_a_profile_that_does_not_fit_its_description_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        HTTP.check(account(PLAIN, **more))


def test_a_place_for_a_secret_needs_a_secret() -> None:
    placed = changed(PLAIN, lambda o: o["submit"].update(headers={"x-key": "{{secret}}"}))

    with pytest.raises(BadInput, match=r"^key: must name the secret"):
        HTTP.check(account(placed, key=None))
    HTTP.check(account(placed))


# --- requests --------------------------------------------------------------------------------------------------------


def test_a_prompt_alone_holds_everything() -> None:
    made = request(PLAIN, settings={"system": "Be short."}, feedback="the city is missing", draft={"town": 1})
    text = json.loads(made.content)["text"]

    assert text.startswith("Be short.\n\nWhich city is named here?")
    assert "JSON Schema" in text
    assert text.index('{"town":1}') < text.index("That answer was not accepted: the city is missing")


def test_a_model_may_have_parts_in_an_address_and_nothing_leads_out_of_it() -> None:
    named = changed(PLAIN, lambda o: o["submit"].update(path="/models/{{model}}/run?key={{key}}"))

    assert str(request(named, settings={"model": "meta/llama 3"}).url) == (
        "https://api.example.com/v1/models/meta/llama%203/run?key=bizq-1099511633921"
    )
    for model in ("../../admin", "a//b", "..", "a/."):
        with pytest.raises(BadInput, match=r"^model: "):
            request(named, settings={"model": model})


def test_a_model_that_the_api_needs_must_be_named() -> None:
    there = account(changed(PLAIN, lambda o: o["submit"]["body"].update(model="{{model}}")))

    with pytest.raises(BadInput, match=r"^settings\.model: must name a model"):
        HTTP.of(there).request(make_call(HTTP, {"model": None}, account=there), Verb.SUBMIT)


def test_parameters_are_sent_where_they_have_a_place() -> None:
    placed = changed(
        PLAIN, lambda o: o["submit"]["body"].update(voice="{{parameters.voice}}", all="{{parameters}}")
    )
    body = json.loads(request(placed, settings={"parameters": {"voice": {"id": 3}}}).content)

    assert (body["voice"], body["all"]) == ({"id": 3}, {"voice": {"id": 3}})
    assert set(json.loads(request(placed).content)) == {"text"}


def test_a_repair_is_warmer() -> None:
    warm = changed(PLAIN, lambda o: o["submit"]["body"].update(t="{{temperature}}"))

    made = [json.loads(request(warm, settings={"temperature": 0}, repair=n).content)["t"] for n in (0, 1)]
    assert made[0] == 0 < made[1]


def test_a_prompt_in_the_address_counts_too() -> None:
    asking: dict[str, Any] = {"submit": {"method": "GET", "path": "/ask?q={{prompt}}"}, "answer": ""}
    call = make_call(HTTP, account=account(asking), prompt="Où? " * 1_000)

    made = HTTP.of(account(asking)).request(call, Verb.SUBMIT)
    assert isinstance(made, httpx2.Request)
    assert (made.method, made.content) == ("GET", b"")
    assert HTTP.quote(call).input_tokens > 5_000


def test_a_value_that_is_missing_makes_no_address() -> None:
    asking = {"submit": {"method": "GET", "path": "/{{parameters.voice}}?q={{prompt}}"}, "answer": ""}

    assert request(asking, settings={"parameters": {"voice": 3}}).url.path == "/v1/3"
    with pytest.raises(BadInput, match=r"^parameters\.voice: must not be empty"):
        request(asking)


def test_without_a_place_for_the_limit_output_has_no_bound() -> None:
    limited = changed(PLAIN, lambda o: o["submit"]["body"].update(limit="{{max_output_tokens}}"))

    quotes = [HTTP.quote(make_call(HTTP, account=account(options))) for options in (PLAIN, limited)]
    assert [quote.output_tokens for quote in quotes] == [None, 1024]


@pytest.mark.parametrize("job", ["..", ".", "../..", "a/../../b"])
def test_a_job_s_name_never_leads_out_of_the_api(job: str) -> None:
    made = request(JOBS, Verb.POLL, external_id=job)

    assert made.url.path.startswith("/v1/predictions/")
    assert ".." not in made.url.path.split("/")


# --- variants and replies --------------------------------------------------------------------------------------------


def test_the_description_decides_on_kind_and_abilities() -> None:
    plain, jobs = adapter(PLAIN).abilities, adapter(JOBS, hook=HOOK).abilities
    keyed = changed(
        PLAIN, lambda o: (o.update(honours_key=True, kind="human"), o["submit"]["body"].update(k="{{key}}"))
    )

    assert (plain.poll, plain.cancel, plain.webhook, plain.honours_key) == (False, False, False, False)
    assert (jobs.poll, jobs.cancel, jobs.webhook, jobs.lookup) == (True, True, True, False)
    assert (adapter(keyed).kind, adapter(keyed).abilities.honours_key) == ("human", True)


def test_an_api_without_states_says_202_while_it_works() -> None:
    polled = changed(
        PLAIN, lambda o: o.update(job="/id", poll={"method": "GET", "path": "/jobs/{{job}}"}, poll_after_ms=5)
    )

    assert meant(polled, 202, {"id": 17}) == Accepted("17", 5)
    assert meant(polled, 202, {"id": 17}, Verb.POLL) == Accepted("17")
    assert isinstance(meant(polled, 200, {"answer": {"city": "Paris"}}, Verb.POLL), Succeeded)
    assert meant(polled, 202, {}) == Unknown(
        "no_job: the API works on it, and names no job that could be polled"
    )
    assert isinstance(meant(PLAIN, 202, {"id": 17}), Unknown)


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ({"answer": {"city": "Paris"}}, Succeeded({"city": "Paris"})),
        ({"answer": '```json\n{"city": "Paris"}\n```'}, Succeeded({"city": "Paris"})),
        ({"answer": ['{"city":', '"Paris"}']}, Succeeded({"city": "Paris"})),
        ({"answer": ""}, Unknown("unreadable_reply: it is JSON without an answer")),
        ({"error": {"message": "no", "code": "moody"}}, Retry("http_200 moody: no")),
        ({"error": {"message": "no", "code": "429"}}, Retry("http_200 429: no")),
        ({"error": "no"}, Unknown("http_200: no")),
    ],
)
def test_an_answer_is_read_in_each_of_its_forms(body: Any, outcome: Outcome) -> None:
    found = meant({**PLAIN, "codes": {"moody": "retry"}}, 200, body)

    assert type(found) is type(outcome)
    assert getattr(found, "output", None) == getattr(outcome, "output", None)
    assert getattr(found, "why", None) == getattr(outcome, "why", None)


def test_codes_come_before_statuses_and_these_before_the_table() -> None:
    own = {**PLAIN, "codes": {"full": "failed"}, "statuses": {"429": "unknown", "500": "retry"}}

    assert isinstance(meant(own, 429, {"error": {"code": "full"}}), Failed)
    assert isinstance(meant(own, 429, {"error": {"code": "other"}}), Unknown)
    assert isinstance(meant(own, 500, {}), Retry)
    assert isinstance(meant(PLAIN, 500, {}), Unknown)


def test_a_refusal_has_a_place() -> None:
    refusing = {**PLAIN, "refusal": {"at": "/refusal"}}

    found = meant(refusing, 200, {"answer": "x", "refusal": "I will not"})
    assert isinstance(found, Failed)
    assert found.why == "refused: I will not"
    assert found.usage is not None, "it was worked on, so its cost is unknown"
    assert isinstance(meant(refusing, 200, {"answer": {"city": "x"}, "refusal": None}), Succeeded)


def test_a_cost_in_a_header_counts_in_its_unit() -> None:
    options = {**PLAIN, "cost": {"header": "X-Credits", "dollars": "0.01"}}
    there, call = adapter(options), make_call(HTTP, account=account(options))

    outcome = there.reply(call, Verb.SUBMIT, Reply(200, {"x-credits": "12.5"}, b'{"answer": {"city": "x"}}'))
    assert str(outcome.charged) == "0.125"
    failed = there.reply(call, Verb.SUBMIT, Reply(500, {"x-credits": "0"}, b"{}"))
    assert failed.charged is None, "a gateway reports 0 for what it does not know"


@pytest.mark.parametrize(
    ("more", "cost"),
    [
        ({}, UNKNOWN),
        ({"price": {"per_task": "0.02"}}, FREE),
        ({"price": {}}, FREE),
        ({"price_book": "openai"}, UNKNOWN),
    ],
)
def test_a_job_that_failed_without_a_count_costs_nothing_only_where_answers_are_priced(
    more: dict[str, Any], cost: Cost
) -> None:
    options = {
        **PLAIN,
        "state": {"at": "/state", "succeeded": ["done"], "failed": ["failed"]},
        "input_tokens": "/in",
        "output_tokens": "/out",
    }
    there = account(options, **more)
    HTTP.check(there)
    call = make_call(HTTP, account=there)

    outcome = HTTP.of(there).reply(call, Verb.SUBMIT, Reply(200, {}, b'{"state": "failed"}'))

    assert isinstance(outcome, Failed)
    assert cost_of_call(there, outcome, NOW_MS) == cost


def test_a_webhook_to_a_profile_without_callbacks_is_refused() -> None:
    with pytest.raises(BadSignature, match="no callbacks"):
        adapter(PLAIN).verify_webhook(account(PLAIN), {}, b"{}", NOW_MS)
