"""A finding of the doctor, apart from the doctor: the API's document names it at every start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`what` is the fact; `advice` is the next step, empty when none is needed."""

    level: Level
    what: str
    advice: str = ""
