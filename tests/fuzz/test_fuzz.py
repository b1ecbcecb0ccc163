"""A small `make fuzz`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.fuzz.targets import TARGETS, Target, fuzz

pytestmark = pytest.mark.heavy

ALL: Final = 2_000


@pytest.mark.parametrize("target", TARGETS, ids=[target.name for target in TARGETS])
def test_hostile_requests_cause_no_internal_error(target: Target, tmp_path: Path) -> None:
    count = ALL * target.share // 100
    assert fuzz(target, count, 1, tmp_path, lambda _: None) >= count
