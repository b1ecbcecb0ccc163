"""The choices on the command lines of `bizq dev` and `bizq demo`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from consumer.cli.host import MODEL_NAME

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """How `bizq dev` serves.  The help of each option explains the field of the same name."""

    port: int
    public_url: str | None
    profiles: Path | None
    model_url: str | None
    log_level: str
    with_model: bool
    examples: bool


@dataclass(frozen=True, slots=True)
class ModelServer:
    """The server of the demo's model.  `url`: its API, in OpenAI's format; None: a model is started on this machine.

    `key` is the name of the environment variable that holds the server's key."""

    url: str | None = None
    name: str = MODEL_NAME
    key: str | None = None
