"""The providers' side of the network: servers that do the work, keep a ledger, and misbehave."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import httpx2

from consumer.store.sql import task_of
from tests.simulation import edges
from tests.simulation.adapters import PRICE_MICRO
from tests.simulation.hooks import Hooks
from tests.simulation.seen import Begun

if TYPE_CHECKING:
    from tests.simulation.isolates import Isolate
    from tests.simulation.simulation import Simulation

HONOURS_KEYS: Final = frozenset({"keyed", "both"})
ASYNCHRONOUS: Final = frozenset({"jobs", "calls", "crowd"})
RATES: Final = {
    "simulated": (Decimal("1.07") / 1_000_000, Decimal("2.03") / 1_000_000),
    "mistral-medium": (Decimal("1.5") / 1_000_000, Decimal("7.5") / 1_000_000),
}
"""Dollars for a token of input and of output, by model."""
BARE_STATUSES: Final = (408, 500, 502, 503, 504)
LARGE: Final = 70_000
"""The length of an answer that is stored in a blob."""


@dataclass(slots=True)
class Job:
    """A provider's record of one submission.  `begun`: the execution that it belongs to.
    `bare`: its webhook comes without the query of the callback address."""

    provider: str
    number: int
    key: str
    begun: Begun
    identity: str
    callback: str | None
    bare: bool
    status: str = "working"
    answer: Any = None
    charged: Decimal | None = None

    @property
    def execution(self) -> int:
        return self.begun.id

    @property
    def id(self) -> str:
        return f"{self.provider}-{self.execution}-{self.number}"

    def said(self) -> dict[str, Any]:
        charged = None if self.charged is None else str(self.charged)
        return {"status": self.status, "id": self.id, "answer": self.answer, "charged": charged}


class Refusal(Exception):
    """The connection breaks, before or after the work."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class Services:
    """All providers.  `uncounted`: executions whose tokens the reply did not count.

    `limited`: executions that were refused because the provider gets too many calls, the last time that they were sent.
    `ledger`: the exact charge of each execution; `answers`: the answers for each task.  A restore does not take them
    back: each names the lease of its execution, and one that no row has belongs to a call that was forgotten."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self.hooks = Hooks(sim)
        self.jobs: dict[str, Job] = {}
        self.refused_keys: set[str] = set()
        self.uncounted: set[Begun] = set()
        self.ledger: dict[Begun, Decimal] = {}
        self.answers: dict[int, list[tuple[Begun, Any]]] = defaultdict(list)
        self._by_id: dict[str, Job] = {}
        self._chats: dict[Begun, str] = {}
        self.limited: set[int] = set()
        self._answers = 0
        self._storm_until: dict[str, float] = {}

    def charged(self, execution: int) -> Decimal:
        """What the execution that has this id now was charged."""
        return self.ledger.get(self._sim.books.begun(execution), Decimal(0))

    def counts(self, execution: int) -> bool:
        """Whether the reply to the execution that has this id now counted its tokens."""
        return self._sim.books.begun(execution) not in self.uncounted

    def answers_of(self, task: int) -> list[Any]:
        """The answers to calls of a task that the database knows."""
        return [answer for begun, answer in self.answers[task] if begun == self._sim.books.begun(begun.id)]

    def taken(self, begun: Begun) -> tuple[str | None, str | None]:
        """The identity and the key with which a provider has taken a call; None if it took none, or knows no keys."""
        job = next((job for job in self._by_id.values() if job.begun == begun), None)
        return (self._chats.get(begun), None) if job is None else (job.identity, job.key)

    def receive(self, isolate: Isolate, request: httpx2.Request) -> asyncio.Future[httpx2.Response]:
        """Handle a request; the work is done even if its sender dies."""
        answer: asyncio.Future[httpx2.Response] = asyncio.get_running_loop().create_future()
        self._sim.start(self._serve(isolate, request, answer))
        return answer

    async def _serve(
        self, isolate: Isolate, request: httpx2.Request, answer: asyncio.Future[httpx2.Response]
    ) -> None:
        sim, dice = self._sim, self._sim.dice
        name, verb = request.url.host.partition(".")[0], request.url.path.rpartition("/")[2]
        body = json.loads(request.content)
        self.limited.discard(submitted_execution(request) or 0)
        outage = sim.weather.over(name)
        if outage is not None and outage.hangs:
            return
        if outage is not None or dice.hit("provider.unreachable", 0.03):
            _break(answer, httpx2.ConnectError("no route"))
            return
        await asyncio.sleep(dice.between("provider.way", 0.005, 0.05))
        if dice.hit("provider.lost_before", 0.03):
            await self._silence(answer)
            return
        try:
            if name == "chat":
                status, said = await self._chat(isolate, request, body)
            else:
                status, said = await self._ask(isolate, name, verb, body)
        except Refusal as refusal:
            _break(answer, refusal.error)
            return
        if dice.hit("provider.lost_after", 0.04):
            sim.note(name, "loses its reply", body.get("execution"))
            await self._silence(answer)
            return
        await asyncio.sleep(dice.between("provider.way", 0.005, 0.05))
        headers = {"retry-after": self._asked_s()} if status == 429 else {}
        if not answer.done():
            execution = submitted_execution(request) or 0
            (self.limited.add if status == 429 else self.limited.discard)(execution)
            answer.set_result(
                httpx2.Response(status, headers=headers, content=json.dumps(said).encode(), request=request)
            )

    async def _silence(self, answer: asyncio.Future[httpx2.Response]) -> None:
        """The connection breaks, or no reply ever comes."""
        if self._sim.dice.stream("provider.silence").random() < 0.5:
            _break(answer, httpx2.ReadError("connection reset"))

    # --- common behaviour ------------------------------------------------------------------------------------------

    def _stormy(self, name: str) -> bool:
        """Reject a request for its rate; such rejections come in groups."""
        now, dice = self._sim.loop.time(), self._sim.dice
        if dice.hit("provider.storm", 0.01):
            self._storm_until[name] = now + dice.between("provider.storminess", 5, 120)
        return dice.fault_rate > 0 and now < self._storm_until.get(name, 0.0)

    def _asked_s(self) -> str:
        """For how many seconds a refusal asks for no calls: some limits are for an hour or longer."""
        dice = self._sim.dice
        if dice.hit("provider.long_limit", 0.3):
            return str(int(dice.between("provider.long_after", 90, 7_200)))
        return str(int(dice.between("provider.after", 1, 90)))

    async def _think(self) -> None:
        dice = self._sim.dice
        if dice.hit("provider.long", 0.04):
            await asyncio.sleep(dice.between("provider.length", 50, 240))
        slow = dice.hit("provider.slow", 0.04)
        await asyncio.sleep(
            dice.between("provider.slowness", 2, 50) if slow else dice.between("think", 0.1, 2.0)
        )

    def _charge(self, begun: Begun, most_micro: int) -> Decimal:
        """An amount up to the declared maximum, with more digits than micro-dollars; rarely above the maximum."""
        draw = self._sim.dice.between("charge", 0.0, 1.0)
        amount = (Decimal(most_micro) * Decimal(f"{draw:.5f}")) / 1_000_000
        if self._sim.dice.hit("provider.overrun", 0.01):
            amount += Decimal(most_micro) / 400_000
            self._sim.books.overran.add(begun)
        self.ledger[begun] = self.ledger.get(begun, Decimal(0)) + amount
        return amount

    def _sentence(self, begun: Begun) -> Any:
        """A unique answer; rarely one that does not fit the schema, or that a row can hardly hold."""
        if self._sim.dice.hit("provider.invalid", 0.05):
            return {"wrong": 1}
        self._answers += 1
        long = "!" * LARGE if self._sim.dice.stream("answer.size").random() < 0.02 else ""
        answer = {"answer": f"yes, {self._answers}{long}"}
        self.answers[task_of(begun.id)].append((begun, answer))
        return answer

    async def _ask(
        self, isolate: Isolate, name: str, verb: str, body: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        key, execution = body["key"], body["execution"]
        if verb == "submit":
            return await self._submit(isolate, name, key, execution, body)
        if self._sim.dice.hit("provider.slow_look", 0.2):  # the webhook may be faster than this reply
            await asyncio.sleep(self._sim.dice.between("provider.slow_looking", 1, 15))
        job = self._by_id.get(body["external_id"] or "") or self.jobs.get(key)
        self._sim.restores.asked(name, key, execution, verb)
        if job is not None:
            self._continue(job, execution)
        if verb == "lookup" and job is None:
            self.refused_keys.add(
                key
            )  # the provider said that the call never arrived: it will not accept it any more
        if job is None:
            return 404, {}
        if verb == "cancel" and job.status == "working":
            job.status = "cancelled"
            job.charged = self._charge(job.begun, PRICE_MICRO // 4)
        return 200, job.said()

    async def _submit(
        self, isolate: Isolate, name: str, key: str, execution: int, body: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        sim, dice = self._sim, self._sim.dice
        if key in self.refused_keys:
            return 404, {}
        if self._stormy(name):
            return 429, {}
        sim.books.submitted(isolate.name, execution, again=name in HONOURS_KEYS)
        sim.books.a_stage_gets_the_previous_result(execution, body["value"])
        sim.restores.asked(name, key, execution, "submit")
        sim.books.a_repair_shows_the_refused_answer(execution, body["draft"])
        if "poison" in str(body.get("value")):
            isolate.die("poisoned by a request")
        job = self.jobs.get(key)
        if job is None or name not in HONOURS_KEYS:
            bare = dice.stream("webhook.bare").random() < 0.2
            job = self._take(
                Job(name, len(self._by_id), key, *sim.books.who(execution), body.get("callback"), bare)
            )
            if name in ASYNCHRONOUS:
                sim.start(self._work(job))
                await asyncio.sleep(dice.between("accept", 0.05, 3.0))
                return 202, {"status": "accepted", "id": job.id, "check_after_ms": None}
            if dice.hit("provider.refuses", 0.05):
                job.status, job.charged = "failed", self._charge(job.begun, PRICE_MICRO // 2)
                return 200, job.said()
            await self._think()
            job.status, job.answer = "done", self._sentence(job.begun)
            job.charged = self._charge(job.begun, PRICE_MICRO)
        else:
            self._continue(job, execution)
        while job.status == "working":  # noqa: ASYNC110  # the server checks once a second
            await asyncio.sleep(1.0)
        if dice.hit("provider.crash", 0.02):
            return 500, {}
        return 200, job.said()

    def _take(self, job: Job) -> Job:
        self.jobs[job.key] = self._by_id[job.id] = job
        return job

    def _continue(self, job: Job, execution: int) -> None:
        """A request names a job again.  After a restore it belongs to the execution that replaces the forgotten one."""
        now, identity = self._sim.books.who(execution)
        edges.no_key_reaches_another_task(self._sim, f"{job.id} of {job.identity}", job.identity, identity)
        if job.begun != now and job.identity == identity:
            self.answers[task_of(execution)].append((now, job.answer))
            self.ledger[now] = self.ledger.pop(job.begun, Decimal(0))
            if job.begun in self._sim.books.overran:
                self._sim.books.overran.add(now)
            job.begun = now

    async def _work(self, job: Job) -> None:
        """Do a job, which takes a while, then send its webhook."""
        dice = self._sim.dice
        quick = dice.stream("job.quick").random() < 0.5
        await asyncio.sleep(dice.between("job", 0.01, 2.0) if quick else dice.between("job.long", 10, 5_000))
        if job.status != "working":
            return
        job.status = "failed" if dice.hit("job.fails", 0.08) else "done"
        job.answer = self._sentence(job.begun) if job.status == "done" else None
        job.charged = self._charge(job.begun, PRICE_MICRO)
        if job.callback is not None:
            await self.hooks.tell(job)

    async def _chat(
        self, isolate: Isolate, request: httpx2.Request, body: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        dice = self._sim.dice
        execution = int(request.headers["x-execution"])
        if self._stormy("chat"):
            return 429, {"error": {"message": "slow down"}}
        self._sim.books.submitted(isolate.name, execution, again=False)
        shown = [one["content"] for one in body["messages"] if one["role"] == "assistant"]
        self._sim.books.a_repair_shows_the_refused_answer(execution, *shown)
        if "poison" in str(body):
            isolate.die("poisoned by a request")
        begun, identity = self._sim.books.who(execution)
        self._chats[begun] = identity
        await self._think()
        given = int(dice.between("chat.in", 1, len(request.content) // 2))
        made = int(dice.between("chat.out", 1, body["max_tokens"]))
        rate_in, rate_out = RATES[body["model"]]
        self.ledger[begun] = given * rate_in + made * rate_out
        content = "no json" if dice.hit("chat.babble", 0.05) else json.dumps(self._sentence(begun))
        if dice.hit(
            "chat.status", 0.04
        ):  # a server on the way answers by itself, although the work is done and paid for
            return dice.stream("chat.status.which").choice(BARE_STATUSES), {}
        usage = {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}
        if dice.hit("chat.counts_nothing", 0.04):
            usage = dict.fromkeys(usage, 0)
            self.uncounted.add(begun)
        message = {"message": {"content": content}, "finish_reason": "stop"}
        return 200, {"model": body["model"], "choices": [message], "usage": usage}


def submitted_execution(request: httpx2.Request) -> int | None:
    """The execution that a request submits; None for a poll, a lookup or a cancel."""
    named = request.headers.get("x-execution")
    if named is not None:
        return int(named)
    if not request.url.path.endswith("/submit"):
        return None
    execution: int = json.loads(request.content)["execution"]
    return execution


def _break(answer: asyncio.Future[httpx2.Response], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
