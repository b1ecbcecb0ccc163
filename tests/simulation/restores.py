"""An operator takes the database back to an earlier time, and does what docs/deploy.md says for the time after.

The world outside does not go back: live statuses, large texts, messages, jobs of providers, links, keys that leaked.
The parts of this package that stand for it keep what they know.  What repeats rows goes back with them:
`Seen.RESTORED`, `Others.made`, `Editors.broken`, `Applications.unreadable`, the receipts of `People`, and the accepted
events of `Hooks`."""

from __future__ import annotations

import asyncio
import copy
import json
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from consumer.ports import Statement
from consumer.service.keys import hash_key
from tests.simulation.scenario import KEY, ORGANIZATIONS, admin_key, member_key
from tests.simulation.seen import FINISHED, Begun

if TYPE_CHECKING:
    import sqlite3

    from tests.simulation.simulation import Simulation
    from tests.simulation.watch import Execution, Task

LIKELY: Final = 0.5
LAST_MESSAGE_S: Final = 900.0
"""How long docs/deploy.md lets an operator wait after pausing the queue."""
SHORTEST_S: Final = 20.0
LONGEST_S: Final = 2_400.0
LEAKED: Final = "bizq_leaked_secret"
"""A key that was revoked in the time that a restore removes."""
THEFTS: Final = 5
LOOKS_UP: Final = frozenset({"evident", "both"})
KEEPS_KEYS: Final = frozenset({"keyed", "both"})


class Copy(NamedTuple):
    """The state of one moment: the database, and what the simulator derives from it."""

    database: sqlite3.Connection
    books: dict[str, Any]
    made: dict[int, int]
    used: list[Any]
    kept: list[Any]
    accepted: dict[Any, Any]
    charges: dict[Any, Any]
    broken: set[int]
    unreadable: dict[int, set[str]]


class Lost(NamedTuple):
    """The first call of a task that the database has forgotten, and that its provider has taken."""

    row: Execution
    begun: Begun
    identity: str
    key: str | None


class Restores:
    """At most one restore in a seed.  `turned`: how often time was turned back, or a restore was finished.

    `lost`: by execution, the calls that were forgotten."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self.turned = 0
        self.under_way = False
        self.finished = False
        self.lost: dict[int, Lost] = {}
        self._keys: dict[str, str] = {}

    def key_of(self, key: str) -> str:
        """The API key that its holder has now: an operator who revokes all keys gives out new ones."""
        return self._keys.get(key, key)

    def removed(self, task: int, identity: str) -> bool:
        """Whether a restore has removed this task."""
        found = self._sim.books.tasks.get(task)
        return self.turned > 0 and (found is None or found.identity != identity)

    async def operate(self, until_s: float) -> None:
        """In some seeds, remember a moment, and take the database back to it later."""
        sim, dice = self._sim, self._sim.dice
        if not dice.hit("restore", LIKELY):
            return
        sim.database.commit("setup", [_key(LEAKED, "operator", None)])
        await asyncio.sleep(dice.between("restore.moment", 0.02, 0.4) * until_s)
        in_a_call = dice.stream("restore.in_a_call").random() < 0.5
        if in_a_call:  # or just before it
            sim.books.taken.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(sim.books.taken.wait(), LONGEST_S)
            await asyncio.sleep(dice.between("restore.in_a_call.moment", 0.0, 2.0))
        before = self._copy()
        sim.note("an operator", "will come back to this moment")
        await asyncio.sleep(SHORTEST_S + LONGEST_S * dice.between("restore.length", 0.0, 1.0) ** 2)
        sim.database.commit(
            "an operator",
            [Statement("UPDATE api_keys SET revoked_ms = ?1 WHERE id = 'leaked'", (sim.now_ms(),))],
        )
        await self._restore(before)

    # --- the steps of docs/deploy.md ----------------------------------------------------------------------------------

    async def _restore(self, before: Copy) -> None:
        sim, dice = self._sim, self._sim.dice
        sim.queue.paused = self.under_way = True
        hurried = dice.hit("restore.hurried", 0.4)  # it does not wait for the last invocation
        await asyncio.sleep(dice.between("restore.hurry", 0, 60) if hurried else LAST_MESSAGE_S)
        self._turn_back(before)
        await asyncio.sleep(dice.between("restore.pause", 0.5, 300))
        own = "bizq_restorer_secret"
        sim.database.commit("an operator", [_key(own, "operator", None)])
        everything = dice.stream("restore.revokes_all").random() < 0.5
        wanted: dict[str, Any] = {"revoke": "all" if everything else ["leaked"]}
        if dice.stream("restore.knows_the_highest_id").random() < 0.5:
            wanted["above"] = max(1, sim.books.highest)
        await self._finish(wanted, own)
        await asyncio.sleep(dice.between("restore.reading", 10, 600))  # it reads the answer and acts on it
        if everything:
            self._give_new_keys()
        self.under_way, self.finished = False, True
        self.turned += 1
        self._affected()
        sim.queue.resume()
        await sim.others.repeat_until_answered("DELETE", "/v1/stop", None, own)
        sim.note("an operator", "has finished the restore")
        sim.start(self._thief())

    async def _finish(self, wanted: dict[str, Any], own: str) -> None:
        """Send the requests of `bizq restore`."""
        after: int | None = 0
        calls, lost = Counter[str](), Counter[str]()
        while after is not None:
            before = self._unreported()
            answer = await self._sim.others.repeat_until_answered(
                "POST", "/v1/restore", {**wanted, "after": after}, own
            )
            self.a_restore_can_be_finished(answer)
            if answer is None or answer[0] != 200:
                return
            self._sim.note("an operator", "finishes the restore", answer[1]["calls"])
            lost = lost or before
            calls.update(
                {one["profile"]: one["tasks"] for one in answer[1]["calls"] if one["found_by"] is None}
            )
            after = answer[1]["next"]
        self.lost_money_is_reported(lost & self._unreported(), calls)

    def _give_new_keys(self) -> None:
        """The operator creates new keys for all callers, as docs/deploy.md says."""
        sim = self._sim
        roles: list[tuple[str, str, int | None]] = [(KEY, "operator", None)]
        roles += [(member_key(number), "member", number) for number in range(1, ORGANIZATIONS + 1)]
        roles += [(admin_key(number), "admin", number) for number in range(1, ORGANIZATIONS + 1)]
        self._keys = {key: f"{key.replace('_secret', 'new')}_secret" for key, _, _ in roles}
        sim.database.commit("an operator", [_key(self._keys[key], role, whose) for key, role, whose in roles])

    async def _thief(self) -> None:
        for _ in range(THEFTS):
            await asyncio.sleep(self._sim.dice.between("thief", 1, 3_000))
            answer = await self._sim.web.json("GET", "/v1/tasks", None, LEAKED)
            if answer is not None and answer[0] < 500:
                self.revoked_keys_stay_revoked(answer[0])

    # --- time ---------------------------------------------------------------------------------------------------------

    def _copy(self) -> Copy:
        sim = self._sim
        hooks, people = sim.services.hooks, sim.people
        return Copy(
            sim.database.copied(),
            sim.books.copied(),
            dict(sim.others.made),
            list(people.used),
            list(people.kept),
            dict(hooks.accepted),
            dict(hooks.reported_charges),
            set(sim.editors.broken),
            copy.deepcopy(sim.applications.unreadable),
        )

    def _turn_back(self, before: Copy) -> None:
        """Time Travel: the database is as it was, and everything else is as it is."""
        sim = self._sim
        executions = sim.books.executions
        sim.database.turn_back(before.database)
        sim.books.turn_back(before.books)
        sim.people.used, sim.people.kept = before.used, before.kept
        sim.services.hooks.accepted, sim.services.hooks.reported_charges = before.accepted, before.charges
        sim.others.turn_back(before.made)
        sim.editors.turn_back(before.broken)
        sim.applications.turn_back(before.unreadable)
        self.turned += 1
        self._forgotten(executions)
        chance = sim.dice.stream("restore.reminds")
        asked = [
            one for one in sim.books.executions.values() if (one.provider, one.status) == ("inbox", "waiting")
        ]
        for one in asked:
            if chance.random() < 0.5:
                sim.people.remind(one)
        self._affected()
        sim.activity.set()
        sim.note("an operator", "restores the database", f"{len(self.lost)} calls are lost")

    def _affected(self) -> None:
        for task in self._sim.books.tasks.values():
            if task.status not in FINISHED:
                self._sim.coverage.task(task.id, "restore")

    def _forgotten(self, known: dict[int, Execution]) -> None:
        """Note for each unfinished task the first call that is forgotten, if its provider has taken it."""
        sim, seen = self._sim, set[int]()
        for number in sorted(known):
            row = known[number]
            task, begun = sim.books.tasks.get(row.task_id), Begun(number, row.lease or "")
            if task is None or task.status in FINISHED or task.id in seen or begun == sim.books.begun(number):
                continue
            seen.add(task.id)
            identity, key = sim.services.taken(begun)
            if identity == task.identity:
                self.lost[number] = Lost(row, begun, identity, key)

    def _unreported(self) -> Counter[str]:
        """How many lost calls of tasks that still stand at them cannot be found, by profile."""
        found = Counter[str]()
        for lost in self.lost.values():
            task = self._sim.books.tasks.get(lost.row.task_id)
            if task is None or task.status in FINISHED:
                continue
            blind = (lost.row.provider or "") not in LOOKS_UP | KEEPS_KEYS
            stays = (task.stage, task.candidate) == (lost.row.stage, lost.row.candidate)
            # The call may have followed another route than the restored one.
            if (
                blind
                and stays
                and task.identity == lost.identity
                and self._profile_of(task) == lost.row.profile
            ):
                found[lost.row.profile or ""] += 1
        return found

    def _profile_of(self, task: Task) -> str | None:
        """The profile that a task stands at; None if its route cannot be read."""
        rows = self._sim.database.ask("SELECT route FROM task_templates WHERE id = ?1", task.template_id)
        try:
            stages = json.loads(rows[0]["route"])["stages"]
            return str(stages[task.stage]["candidates"][task.candidate]["profile"])
        except (IndexError, KeyError, TypeError, ValueError):
            return None

    def asked(self, provider: str, key: str, execution: int, verb: str) -> None:
        """A provider receives a request for an execution, which may stand for a lost call."""
        lost, row = self.lost.get(execution), self._sim.books.executions.get(execution)
        if lost is None or row is None or self._sim.books.begun(execution) == lost.begun:
            return
        task = self._sim.books.tasks.get(row.task_id)
        same = task is not None and task.identity == lost.identity
        if same and _place(row) == _place(lost.row) and provider in LOOKS_UP | KEEPS_KEYS:
            self.a_lost_call_keeps_its_key(lost, key)
            if provider not in KEEPS_KEYS:
                self.a_lost_call_is_looked_up(lost, verb)

    # --- invariants ---------------------------------------------------------------------------------------------------

    def a_lost_call_keeps_its_key(self, lost: Lost, key: str) -> None:
        """The call that stands for a forgotten one has its key, so its provider can find what was paid for."""
        self._sim.books.must("a_lost_call_keeps_its_key", key == lost.key, "{}, but asked for {}", lost, key)

    def a_lost_call_is_looked_up(self, lost: Lost, verb: str) -> None:
        """A forgotten call is looked up and not made again, where its provider offers that."""
        self._sim.books.must("a_lost_call_is_looked_up", verb != "submit", "{} is paid twice", lost)

    def lost_money_is_reported(self, lost: Counter[str], reported: Counter[str]) -> None:
        """`bizq restore` counts the tasks whose forgotten call no lookup and no key can find, for each profile."""
        self._sim.books.must("lost_money_is_reported", lost <= reported, "{} of {}", reported, lost)

    def revoked_keys_stay_revoked(self, status: int) -> None:
        """A key that was revoked before a restore does not work after it."""
        self._sim.books.must("revoked_keys_stay_revoked", status == 401, "the leaked key got {}", status)

    def a_restore_can_be_finished(self, answer: tuple[int, Any] | None) -> None:
        """The request of `bizq restore` may be repeated until it is answered."""
        right = answer is not None and answer[0] == 200
        self._sim.books.must("a_restore_can_be_finished", right, "{}", answer)


def _place(row: Execution) -> tuple[Any, ...]:
    return row.provider, row.stage, row.candidate, row.attempt


def _key(key: str, role: str, organization: int | None) -> Statement:
    _, name, secret = key.split("_")
    return Statement(
        "INSERT INTO api_keys (id, hash, role, organization_id, created_ms) VALUES (?1, ?2, ?3, ?4, 0)",
        (name, hash_key(secret), role, organization),
    )
