"""People with assignments: they answer, decline, vanish, answer at the last second, twice, or after it is over."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from consumer.service import links
from consumer.store.sql import mark_of
from tests.simulation import edges
from tests.simulation.isolates import LINK_SECRET
from tests.simulation.seen import Begun

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation
    from tests.simulation.watch import Execution

JSON = {"accept": "application/json", "content-type": "application/x-www-form-urlencoded"}


class People:
    """People with assignments."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self._asked: set[Begun] = set()
        self.used: list[tuple[Execution, Any]] = []
        self.kept: list[tuple[Execution, Any]] = []

    def forget(self, task: int) -> None:
        """The rows of a task were deleted: nothing shows its answers any more."""
        self.used = [one for one in self.used if one[0].task_id != task]
        self.kept = [one for one in self.kept if one[0].task_id != task]

    def _hit(self, execution: Execution, kind: str, probability: float) -> bool:
        hit = self._sim.dice.hit(kind, probability)
        if hit:
            self._sim.coverage.task(execution.task_id, kind)
        return hit

    def remind(self, execution: Execution) -> None:
        """After a restore: send the link of an assignment again, whether it was answered in the lost time or not."""
        self._asked.discard(Begun(execution.id, execution.lease or ""))
        self.asked(execution)

    def asked(self, execution: Execution) -> None:
        """Handle an assignment that has appeared in a person's inbox."""
        link = Begun(execution.id, execution.lease or "")
        if link not in self._asked:
            self._asked.add(link)
            self._sim.start(self._person(execution))

    async def _person(self, execution: Execution) -> None:
        sim, dice = self._sim, self._sim.dice
        deadline = execution.resolve_by_ms or 0
        left = max(1.0, (deadline - sim.now_ms()) / 1000)
        path = f"/inbox/{links.token(LINK_SECRET, execution.id, mark_of(execution.lease or ''), deadline)}"
        await asyncio.sleep(min(left, dice.between("person", 5, 3_600)))
        if self._hit(execution, "person.looks", 0.3):
            await sim.web.request("GET", path, headers=JSON)
        if self._hit(execution, "person.accepts", 0.3):
            await self._post(execution, path, {"action": "accept"})
        if self._hit(execution, "person.vanishes", 0.12):
            return
        if self._hit(execution, "person.last_second", 0.1):
            await asyncio.sleep(
                max(0.0, (deadline - sim.now_ms()) / 1000 - dice.between("person.eve", -3, 3))
            )
        if self._hit(execution, "person.too_late", 0.08):
            await asyncio.sleep(
                max(0.0, (deadline - sim.now_ms()) / 1000 + dice.between("person.late", 60, 90_000))
            )
        if self._hit(execution, "person.declines", 0.06):
            await self._post(execution, path, {"action": "decline", "reason": "no time"})
            return
        if self._hit(execution, "person.wrong", 0.1):
            await self._post(execution, path, {"action": "submit", "decision": "edit"})
        answer = self._answer(review=execution.stage > 0)
        if self._hit(execution, "person.twice", 0.15):
            await asyncio.gather(
                self._insist(execution, path, answer),
                self._insist(execution, path, self._answer(review=execution.stage > 0)),
            )
        else:
            await self._insist(execution, path, answer)

    def _answer(self, *, review: bool) -> dict[str, str]:
        number = self._sim.dice.stream("person.answer").random()
        plain = {"action": "submit", "output.answer": f"by hand {number:.6f}"}
        if not review:
            return plain
        if number < 0.5:
            return {"action": "submit", "decision": "approve"}
        if number < 0.7:
            return {**plain, "decision": "edit"}
        if number < 0.9:
            return {"action": "submit", "decision": "reject", "note": "do it better", "redo": "yes"}
        return {"action": "submit", "decision": "reject", "note": "never"}

    async def _insist(self, execution: Execution, path: str, form: dict[str, str]) -> None:
        """Submit the form until there is an answer."""
        for pause in (1, 5, 60, 600, 3_600, 4_000):
            answer = await self._post(execution, path, form)
            if answer is not None and answer[0] < 500:
                return
            await asyncio.sleep(pause)

    async def _post(self, execution: Execution, path: str, form: dict[str, str]) -> tuple[int, Any] | None:
        turned = self._sim.restores.turned
        answer = await self._sim.web.request("POST", path, urlencode(form).encode(), JSON)
        if answer is not None and turned == self._sim.restores.turned:
            said = answer[1]
            used = isinstance(said, dict) and bool(said.get("used"))
            self._sim.note("a person", f"is answered {answer[0]}", f"{execution.id} {form} used={used}")
            if answer[0] == 200 and not self._sim.books.deleted[execution.task_id]:
                link = Begun(execution.id, execution.lease or "")
                edges.no_link_reaches_another_assignment(self._sim, link, self._sim.books.begun(execution.id))
            if used:
                self.used.append((execution, said.get("answer")))
            elif isinstance(said, dict) and "It was kept with the task" in str(said.get("message")):
                self.kept.append((execution, said.get("sent")))
        return answer
