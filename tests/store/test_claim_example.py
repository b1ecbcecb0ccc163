"""The example in the comment of CLAIM_LEASE: one organization has far more due tasks than two others."""

from __future__ import annotations

from typing import Any, Final

import pytest

from consumer.store import claim
from tests.schema import databases
from tests.schema.databases import Sql

empty, sql = databases.empty, databases.sql

DUE: Final = {1: (100, 1_000), 2: (1, 2_000), 3: (40, 3_000)}
"""Organizations: the number of their due tasks, and the time from which these are due."""


@pytest.mark.parametrize("start", [0, 1, 2, 3, 2**31 - 1])
def test_the_batch_is_divided_as_the_example_says(sql: Sql, start: int) -> None:
    for organization, (count, since) in DUE.items():
        for place in range(count):
            sql.new_task(organization_id=organization, run_at_ms=since + place, template_id=None)

    sizes: dict[str, Any] = {
        "size": 10,
        "half": 5,
        "most": 10,
        "hops": 25,
        "few": 4,
        "used": "{}",
        "without": "[]",
    }
    sql.send(claim.CLAIM_LEASE(token="t", until=9_000, now=5_000, start=start, **sizes))

    chosen = sql.run(
        "SELECT organization_id, count(*) AS tasks, max(run_at_ms) AS last FROM tasks"
        " WHERE id IN (SELECT value FROM json_each((SELECT task_ids FROM leases WHERE token = 't')))"
        " GROUP BY 1 ORDER BY 1"
    )
    assert [(row["organization_id"], row["tasks"]) for row in chosen] == [(1, 5), (2, 1), (3, 4)]
    assert [row["last"] for row in chosen] == [1_004, 2_000, 3_003]  # the oldest tasks of each
