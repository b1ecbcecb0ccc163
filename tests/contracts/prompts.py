"""The prompt of each stage: `input` is the input of the task, and `previous` is the answer of the stage before."""

from __future__ import annotations

import pytest

from consumer.service import people
from tests.support.assignments import link
from tests.support.scene import Scene, Suite, ai, person, route


class PromptContract(Suite):
    """What a model and a person are shown."""

    @staticmethod
    async def work(scene: Scene, prompt: str, *stages: dict[str, object]) -> int:
        await scene.organization(1)
        template = await scene.template(route(*stages), prompt=prompt)
        (task,) = await scene.tasks(1, template, input='{"name":"Ada","none":null}')
        await scene.drain()
        return task

    async def test_input_is_the_input_of_the_task_in_every_stage(self, scene: Scene) -> None:
        prompt = "{{input.name}} {{previous.answer|first}}"
        await self.work(scene, prompt, ai("blind"), ai("other"))

        assert [call.prompt for call in scene.network.calls("blind")] == ["Ada first"]
        assert [call.prompt for call in scene.network.calls("other")] == ["Ada yes"]

    async def test_a_stage_can_have_a_prompt_of_its_own(self, scene: Scene) -> None:
        await self.work(
            scene, "Ask {{input.name}}", ai("blind"), ai("other") | {"prompt": "Judge {{previous}}"}
        )

        assert [call.prompt for call in scene.network.calls("blind")] == ["Ask Ada"]
        assert [call.prompt for call in scene.network.calls("other")] == ['Judge {"answer":"yes"}']

    async def test_a_model_is_shown_the_answer_before_although_its_prompt_does_not_name_it(
        self, scene: Scene
    ) -> None:
        await self.work(scene, "Greet {{input.name}}", ai("blind"), ai("other"))

        (call,) = scene.network.calls("other")
        assert call.prompt == 'Greet Ada\n\nThe answer of the stage before:\n{"answer":"yes"}'
        assert (call.value, call.task_input) == ({"answer": "yes"}, {"name": "Ada", "none": None})

    async def test_a_prompt_without_placeholders_gets_the_input(self, scene: Scene) -> None:
        await self.work(scene, "Greet.", ai("blind"))

        assert [call.prompt for call in scene.network.calls("blind")] == [
            'Greet.\n\n{"name":"Ada","none":null}'
        ]

    async def test_an_empty_prompt_is_left_to_the_adapter(self, scene: Scene) -> None:
        await self.work(scene, "", ai("blind"))

        assert [call.prompt for call in scene.network.calls("blind")] == [""]

    @pytest.mark.parametrize("name", ["input.city", "input.none", "description"])
    async def test_a_task_that_does_not_fill_its_prompt_fails_before_it_costs(
        self, scene: Scene, name: str
    ) -> None:
        task = await self.work(scene, f"Where is {{{{{name}}}}}?", ai("blind"))

        row = await scene.task(task)
        assert row["status"] == "failed"
        assert row["reason"].startswith(f"bad_input: {name}: is empty")
        assert scene.network.count() == 0

    async def test_a_person_is_shown_what_a_model_is_shown(self, scene: Scene) -> None:
        task = await self.work(scene, "{{input.name}} {{previous.answer|first}}", ai("blind"), person())

        shown = await people.assignment(scene.world, await link(scene, task, 2))
        assert shown.instructions == "Ada yes"
        assert shown.value == {"name": "Ada", "none": None}
        assert shown.previous == {"answer": "yes"}
