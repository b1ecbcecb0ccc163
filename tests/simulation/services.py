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
from tests.simulation.adapters import PRICE_MICRO
from tests.simulation.hooks import Hooks

if TYPE_CHECKING:
    from tests.simulation.isolates import Isolate
    from tests.simulation.simulation import Simulation

HONOURS_KEYS: Final = frozenset({"keyed", "both"})
ASYNCHRONOUS: Final = frozenset({"jobs", "calls", "crowd"})
INPUT_RATE: Final = Decimal("1.07") / 1_000_000
OUTPUT_RATE: Final = Decimal("2.03") / 1_000_000
BARE_STATUSES: Final = (408, 500, 502, 503, 504)
LARGE: Final = 70_000
"""The length of an answer that is stored in a blob."""


@dataclass(slots=True)
class Job:
    """A provider's record of one submission.  `era`: how often the rows of its task had been deleted before.
    `bare`: its webhook comes without the query of the callback address."""

    provider: str
    key: str
    execution: int
    callback: str | None
    bare: bool
    era: int
    status: str = "working"
    answer: Any = None
    charged: Decimal | None = None

    @property
    def id(self) -> str:
        return f"{self.provider}-{self.execution}"

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

    `ledger`: the exact charge of each execution; `answers`: the answers for each task."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self.hooks = Hooks(sim)
        self.jobs: dict[str, Job] = {}
        self.refused_keys: set[str] = set()
        self.uncounted: set[int] = set()
        self.ledger: dict[int, Decimal] = {}
        self.answers: dict[int, list[Any]] = defaultdict(list)
        self._answers = 0
        self._storm_until: dict[str, float] = {}

    def era(self, execution: int) -> int:
        """How often the rows of its task were deleted so far: what began in an earlier era belongs to no row."""
        return self._sim.books.deleted[task_of(execution)]

    def forget(self, task: int) -> None:
        """The rows of a task were deleted: what its calls cost or still do is not compared any more."""
        for number in [one for one in self.ledger if task_of(one) == task]:
            del self.ledger[number]
            self.uncounted.discard(number)
        self.hooks.forget(task)
        self.answers.pop(task, None)

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
        headers = {"retry-after": str(int(dice.between("provider.after", 1, 90)))} if status == 429 else {}
        if not answer.done():
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

    async def _think(self) -> None:
        dice = self._sim.dice
        if dice.hit("provider.long", 0.04):
            await asyncio.sleep(dice.between("provider.length", 50, 240))
        slow = dice.hit("provider.slow", 0.04)
        await asyncio.sleep(
            dice.between("provider.slowness", 2, 50) if slow else dice.between("think", 0.1, 2.0)
        )

    def _charge(self, execution: int, most_micro: int, era: int) -> Decimal:
        """An amount up to the declared maximum, with more digits than micro-dollars; rarely above the maximum."""
        draw = self._sim.dice.between("charge", 0.0, 1.0)
        amount = (Decimal(most_micro) * Decimal(f"{draw:.5f}")) / 1_000_000
        if self._sim.dice.hit("provider.overrun", 0.01):
            amount += Decimal(most_micro) / 400_000
            self._sim.books.overran.add(execution)
        if era == self.era(execution):
            self.ledger[execution] = self.ledger.get(execution, Decimal(0)) + amount
        return amount

    def _sentence(self, execution: int, era: int) -> Any:
        """A unique answer; rarely one that does not fit the schema, or that a row can hardly hold."""
        if self._sim.dice.hit("provider.invalid", 0.05):
            return {"wrong": 1}
        self._answers += 1
        long = "!" * LARGE if self._sim.dice.stream("answer.size").random() < 0.02 else ""
        answer = {"answer": f"yes, {self._answers}{long}"}
        if era == self.era(execution):
            self.answers[task_of(execution)].append(answer)
        return answer

    async def _ask(
        self, isolate: Isolate, name: str, verb: str, body: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        key, execution = body["key"], body["execution"]
        if verb == "submit":
            return await self._submit(isolate, name, key, execution, body)
        if self._sim.dice.hit("provider.slow_look", 0.2):  # the webhook may be faster than this reply
            await asyncio.sleep(self._sim.dice.between("provider.slow_looking", 1, 15))
        job = self.jobs.get(key)
        if verb == "lookup" and job is None:
            self.refused_keys.add(
                key
            )  # the provider said that the call never arrived: it will not accept it any more
        if job is None:
            return 404, {}
        if verb == "cancel" and job.status == "working":
            job.status = "cancelled"
            job.charged = self._charge(job.execution, PRICE_MICRO // 4, job.era)
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
        if "poison" in str(body.get("value")):
            isolate.die("poisoned by a request")
        job = self.jobs.get(key)
        if job is None or name not in HONOURS_KEYS:
            bare = dice.stream("webhook.bare").random() < 0.2
            job = self.jobs[key] = Job(name, key, execution, body.get("callback"), bare, self.era(execution))
            if name in ASYNCHRONOUS:
                sim.start(self._work(job))
                await asyncio.sleep(dice.between("accept", 0.05, 3.0))
                return 202, {"status": "accepted", "id": job.id, "check_after_ms": None}
            if dice.hit("provider.refuses", 0.05):
                job.status, job.charged = "failed", self._charge(execution, PRICE_MICRO // 2, job.era)
                return 200, job.said()
            await self._think()
            job.status, job.answer = "done", self._sentence(execution, job.era)
            job.charged = self._charge(execution, PRICE_MICRO, job.era)
        while job.status == "working":  # noqa: ASYNC110  # the server checks once a second
            await asyncio.sleep(1.0)
        if dice.hit("provider.crash", 0.02):
            return 500, {}
        return 200, job.said()

    async def _work(self, job: Job) -> None:
        """Do a job, which takes a while, then send its webhook."""
        dice = self._sim.dice
        quick = dice.stream("job.quick").random() < 0.5
        await asyncio.sleep(dice.between("job", 0.01, 2.0) if quick else dice.between("job.long", 10, 5_000))
        if job.status != "working":
            return
        job.status = "failed" if dice.hit("job.fails", 0.08) else "done"
        job.answer = self._sentence(job.execution, job.era) if job.status == "done" else None
        job.charged = self._charge(job.execution, PRICE_MICRO, job.era)
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
        if "poison" in str(body):
            isolate.die("poisoned by a request")
        era = self.era(execution)
        await self._think()
        given = int(dice.between("chat.in", 1, len(request.content) // 2))
        made = int(dice.between("chat.out", 1, body["max_tokens"]))
        if era == self.era(execution):
            self.ledger[execution] = given * INPUT_RATE + made * OUTPUT_RATE
        content = "no json" if dice.hit("chat.babble", 0.05) else json.dumps(self._sentence(execution, era))
        if dice.hit(
            "chat.status", 0.04
        ):  # a server on the way answers by itself, although the work is done and paid for
            return dice.stream("chat.status.which").choice(BARE_STATUSES), {}
        usage = {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}
        if dice.hit("chat.counts_nothing", 0.04):
            usage = dict.fromkeys(usage, 0)
            self.uncounted.add(execution)
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
