"""Editors of templates: they shorten, lengthen and reorder routes and replace candidates while tasks run.

Sometimes they write what no worker can read, and correct it later."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

from consumer.ports import Statement
from tests.simulation import edges
from tests.simulation.books import APPLICATION
from tests.simulation.scenario import ROUTES, SCHEMA, ai, organization_of, person

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

Stages = list[dict[str, Any]]
ADDED: Final = (ai("plain"), ai("keyed"), ai("jobs", "plain"), person("review"), person())
BROKEN: Final = (
    ("route", "NULL"),
    ("route", "'{'"),
    ("route", "X'00'"),
    ("route", "'{}'"),
    ("limits", "'{\"call_s\": '"),
    ("output_schema", "'[1]'"),
    ("prompt", "X'68656C6C6F'"),
)
"""A column of a template, and SQL for a value that no worker can read."""
MOST_STAGES: Final = 4
LONGEST_S: Final = 4_000.0
"""The time after which an editor corrects a template at the latest."""


class Editors:
    """Editors of templates.  `broken`: templates that no worker can read now."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self._stages: dict[int, Stages] = {
            number: list(stages) for number, (stages, _) in enumerate(ROUTES, start=1)
        }
        self.broken: set[int] = set()
        self._corrected_s: dict[int, float] = {}

    async def edit(self, until_s: float) -> None:
        """Sometimes edit a template, mostly one of a task that waits."""
        sim, dice = self._sim, self._sim.dice
        while sim.loop.time() < until_s:
            await asyncio.sleep(dice.between("editor.pause", 100, 900))
            template = self._some_template()
            if template in self.broken:
                continue
            if dice.hit("editor.breaks", 0.15):
                sim.start(self._break(template))
            elif dice.hit("editor.edits", 0.6):
                self._stages[template] = self._edited(self._stages[template])
                await self._write(template)

    def was_broken(self, template: int, since_s: float) -> bool:
        """Whether no worker could read a template now, or at some moment after this time."""
        return template in self.broken or self._corrected_s.get(template, -1.0) >= since_s

    def _some_template(self) -> int:
        """A template of the scenario, mostly one of a task that waits for an answer."""
        chance, tasks = self._sim.dice.stream("editor.which"), self._sim.books.tasks.values()
        waiting = sorted(task.template_id or 0 for task in tasks if task.status == "waiting")
        known = [template for template in waiting if template in self._stages]
        if known and chance.random() < 0.7:
            return chance.choice(known)
        return 1 + chance.randrange(len(ROUTES))

    def _edited(self, stages: Stages) -> Stages:
        """The stages of a route after one edit."""
        chance = self._sim.dice.stream("editor.what")
        what, place = chance.random(), chance.randrange(len(stages))
        if what < 0.3 and len(stages) > 1:
            return stages[:-1] if what < 0.2 else stages[:1]
        if what < 0.6 and len(stages) < MOST_STAGES:
            return [*stages, chance.choice(ADDED)]
        if what < 0.8:
            moved = chance.sample(stages, len(stages))
            return moved if moved[0]["kind"] != "review" else stages
        stage = stages[place]
        candidates = list(stage["candidates"])
        if stage["kind"] == "ai":
            candidates[chance.randrange(len(candidates))] = chance.choice(ADDED[:3])["candidates"][0]
        chance.shuffle(candidates)
        return [*stages[:place], {**stage, "candidates": candidates}, *stages[place + 1 :]]

    async def _break(self, template: int) -> None:
        """Write what cannot be read, and correct it after a while, as the page for applications says."""
        self.broken.add(template)
        column, value = self._sim.dice.stream("editor.value").choice(BROKEN)
        self._commit(f"UPDATE task_templates SET {column} = {value} WHERE id = ?1", template)
        await self._correct(template)

    def turn_back(self, broken: set[int]) -> None:
        """After a restore: what had been corrected in the lost time is corrected again."""
        for template in broken - self.broken:
            self.broken.add(template)
            self._sim.start(self._correct(template))

    async def _correct(self, template: int) -> None:
        await asyncio.sleep(self._sim.dice.between("editor.correction", 0.01, LONGEST_S**0.5) ** 2)
        if self._sim.dice.stream("editor.way").random() < 0.5:
            await self._put(template)
        else:
            self._write_row(template)
            self._commit("UPDATE tasks SET template_id = template_id WHERE template_id = ?1", template)
        self.broken.discard(template)
        self._corrected_s[template] = self._sim.loop.time()

    async def _write(self, template: int) -> None:
        if self._sim.dice.stream("editor.way").random() < 0.5:
            await self._put(template)
        else:
            self._write_row(template)

    def _write_row(self, template: int) -> None:
        """Write a template by SQL."""
        value = self._template(template)
        texts = (json.dumps(value[name]) for name in ("output_schema", "route", "limits"))
        self._commit(
            "UPDATE task_templates SET prompt = ?2, output_schema = ?3, route = ?4, limits = ?5 WHERE id = ?1",
            *(template, value["prompt"], *texts),
        )

    async def _put(self, template: int) -> None:
        """Write a template through the API, until there is an answer."""
        sim, answer = self._sim, None
        target = f"/v1/templates/{template}?organization={organization_of(template)}"
        while answer is None:
            answer = await sim.others.repeat_until_answered("PUT", target, self._template(template))
        edges.no_good_request_is_refused(sim, *answer)
        sim.note("an editor", "writes template", f"{template}: {self._stages[template]}")
        sim.coverage.template(template, "editor.edits")

    def _template(self, template: int) -> dict[str, Any]:
        return {
            "name": f"template {template}",
            "prompt": "Do {{title}} with {{input}}",
            "output_schema": SCHEMA,
            "route": {"stages": self._stages[template]},
            "limits": ROUTES[template - 1][1],
        }

    def _commit(self, sql: str, template: int, *values: Any) -> None:
        self._sim.database.commit(APPLICATION, [Statement(sql, (template, *values))])
        self._sim.note(APPLICATION, "edits template", f"{template}: {sql[:70]} {values[2:3]}")
        self._sim.coverage.template(template, "editor.edits")
