# ruff: noqa: ARG002  # a method has the arguments of the contract, needed or not
"""Providers that follow a test's script, over a network that the test controls.

Each profile has a script: each call plays the next step, and succeeds if no step is left.  A step is an outcome, an
exception that the connection raises, a `Hold`, or a function from the call to an outcome.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import httpx2

from consumer.core.outcome import Accepted, Failed, Outcome, Succeeded
from consumer.provider import Abilities, Call, Event, Provider, Quote, Reply, Verb

if TYPE_CHECKING:
    from consumer.core.profile import Account

ANSWER: Final = {"answer": "yes"}
SCHEMA: Final = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
LOST: Final = httpx2.ReadError("reset after sending")
"""The connection breaks after the request was sent: the outcome of the call is unknown."""
LOST_REASON: Final = "network: the request to fake.test broke off (ReadError)"


class Hold:
    """A call that does not end before it is released."""

    def __init__(self, outcome: Outcome | Exception | None = None) -> None:
        self.outcome = outcome or Succeeded(ANSWER)
        self.begun = asyncio.Event()
        self.released = asyncio.Event()

    def release(self) -> None:
        self.released.set()


Play = Callable[[Call], "Outcome | Awaitable[Outcome]"]
Step = Outcome | Exception | Hold | Play


@dataclass(frozen=True, slots=True)
class Asked:
    """One call that a provider received."""

    profile: str
    verb: Verb
    call: Call


class Network:
    """The outside world: scripts by profile and verb, and every call that was sent."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.others: dict[str, Callable[[httpx2.Request], Awaitable[httpx2.Response]]] = {}
        self._scripts: dict[tuple[str, Verb], deque[Step]] = defaultdict(deque)
        self._calls: list[Asked] = []
        self._outcomes: list[Outcome] = []
        self.client = httpx2.AsyncClient(transport=httpx2.MockTransport(self._answer))

    def script(self, profile: str, *steps: Step, verb: Verb = Verb.SUBMIT) -> None:
        self._scripts[profile, verb].extend(steps)

    def count(self, profile: str | None = None, verb: Verb = Verb.SUBMIT) -> int:
        """The number of calls to a profile; without a name, to all profiles."""
        return sum(1 for one in self.asked if one.verb is verb and profile in (None, one.profile))

    def calls(self, profile: str, verb: Verb = Verb.SUBMIT) -> list[Call]:
        return [one.call for one in self.asked if one.verb is verb and one.profile == profile]

    def register(self, call: Call, verb: Verb) -> httpx2.Request:
        self._calls.append(Asked(call.account.name, verb, call))
        return httpx2.Request("POST", f"http://fake.test/{len(self._calls) - 1}")

    def outcome(self, number: int) -> Outcome:
        return self._outcomes[number]

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.host != "fake.test":
            return await self.others[request.url.host](request)
        asked = self._calls[int(request.url.path[1:])]
        self.asked.append(asked)
        script = self._scripts[asked.profile, asked.verb]
        self._outcomes.append(await _play(script.popleft() if script else _default(asked.verb), asked.call))
        return httpx2.Response(200, content=str(len(self._outcomes) - 1).encode())


def _default(verb: Verb) -> Outcome:
    return Failed("cancelled") if verb is Verb.CANCEL else Succeeded(ANSWER)


async def _play(step: Step, call: Call) -> Outcome:
    if isinstance(step, Hold):
        step.begun.set()
        await step.released.wait()
        step = step.outcome
    elif not isinstance(step, Outcome | Exception):
        played = step(call)
        step = await played if isinstance(played, Awaitable) else played
    if isinstance(step, Exception):
        raise step
    return step


class Fake(Provider):
    """A model behind HTTP that neither honours keys nor can look a call up."""

    name = "blind"
    kind: Literal["ai", "human"] = "ai"

    def __init__(self, network: Network) -> None:
        self._network = network

    def quote(self, call: Call) -> Quote:
        return Quote()

    def request(self, call: Call, verb: Verb) -> httpx2.Request:
        return self._network.register(call, verb)

    def reply(self, call: Call, verb: Verb, reply: Reply) -> Outcome:
        return self._network.outcome(int(reply.body))

    def verify_webhook(self, account: Account, headers: Mapping[str, str], body: bytes, now_ms: int) -> Event:
        return Event(str(headers["webhook-id"]), None)

    def read_webhook(self, call: Call, body: bytes) -> Outcome | None:
        message: dict[str, Any] = json.loads(body)
        if "output" in message:
            return Succeeded(message["output"])
        if "error" in message:
            return Failed(str(message["error"]))
        return Accepted() if "progress" in message else None


class Keyed(Fake):
    """Sending the same key twice does the work once."""

    name = "keyed"
    abilities = Abilities(honours_key=True)


class Evident(Fake):
    """A submission whose reply was lost can be looked up."""

    name = "evident"
    abilities = Abilities(lookup=True)


class Job(Fake):
    """Asynchronous: accepts, is polled, calls back, can be cancelled."""

    name = "job"
    abilities = Abilities(poll=True, cancel=True, webhook=True)


class Crowd(Fake):
    """People outside, behind an API."""

    name = "crowd"
    kind = "human"
    abilities = Abilities(poll=True, cancel=True)


FAKES: Final = (Fake, Keyed, Evident, Job, Crowd)
