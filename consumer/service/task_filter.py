"""Which tasks a list shows and a bulk action covers: one filter for both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from consumer.core.errors import BadInput
from consumer.core.model import PLAIN, Model
from consumer.core.times import iso, parse_time
from consumer.service.new_tasks import IdOrName, Time

if TYPE_CHECKING:
    from typing import Self

    from consumer.ports import Value


def _is_time(text: str) -> str:
    try:
        parse_time(text, "")
    except BadInput as error:
        raise ValueError(str(error)) from None
    return text


Moment = Annotated[Time, AfterValidator(_is_time)]


class TaskFilter(Model):
    """A task must fit every field that is given.

    `template`: an id or a name.  `reason`: the code at the beginning of the task's reason, or of what blocks it, such
    as `http_503` or `no_route`.  `profile`: an execution of the task called it, or the task waits for it.
    `submitted_after` includes its time, `submitted_before` does not.  `key_prefix`: how the idempotency key begins."""

    template: IdOrName | None = None
    status: Literal["pending", "running", "waiting", "completed", "failed", "cancelled"] | None = None
    reason: Annotated[str, Field(min_length=1, max_length=100), PLAIN] | None = None
    profile: Annotated[str, Field(min_length=1, max_length=64), PLAIN] | None = None
    submitted_after: Moment | None = None
    submitted_before: Moment | None = None
    key_prefix: Annotated[str, Field(min_length=1, max_length=200), PLAIN] | None = None

    def parameters(self) -> dict[str, Value]:
        """The parameters of `MATCHES` in `store/queries.py`."""
        found: dict[str, Value] = {name: getattr(self, name) for name in TaskFilter.model_fields}
        if self.template is not None:
            found["template"] = str(self.template)
        for name in ("submitted_after", "submitted_before"):
            if (text := getattr(self, name)) is not None:
                found[name] = iso(parse_time(text, name))
        return found

    def given(self) -> dict[str, object]:
        """The fields that narrow it down."""
        return self.model_dump(exclude_none=True)


class SomeTasks(TaskFilter):
    """A filter with at least one field, because an action on all tasks must be meant: `status` names them."""

    @model_validator(mode="after")
    def _narrows(self) -> Self:
        if not self.given():
            msg = f"must have at least one of {', '.join(TaskFilter.model_fields)}"
            raise ValueError(msg)
        return self
