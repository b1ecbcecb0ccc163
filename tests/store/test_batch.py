"""Batches are sent again after an ambiguous failure, because sending them twice is safe."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from consumer.ports import PortError, Refused, Result, Statement, Unavailable
from consumer.store.batch import TRIES, Batch, commit

BATCH = [Statement("UPDATE tasks SET title = ?1", ("x",)), Statement("SELECT 1")]
ANSWER = [Result(changes=1), Result(({"1": 1},))]


class Flaky:
    """A database that raises its errors one after the other, then answers."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.sent: list[Sequence[Statement]] = []

    async def batch(self, statements: Sequence[Statement]) -> list[Result]:
        self.sent.append(list(statements))
        if self.errors:
            raise self.errors.pop(0)
        return ANSWER[-len(statements) :]


class Draws:
    """Draws that repeat the given numbers for ever."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = list(numbers)

    def draw(self) -> float:
        self.numbers.append(self.numbers.pop(0))
        return self.numbers[-1]

    def token(self) -> str:
        raise AssertionError("a batch draws numbers and needs no token")


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The requested sleeps in seconds; no time passes."""
    seconds: list[float] = []

    async def sleep(delay: float) -> None:
        seconds.append(delay)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return seconds


def lost(times: int) -> list[Unavailable]:
    return [Unavailable(f"no answer {number}") for number in range(1, times + 1)]


async def test_a_successful_batch_is_sent_once(slept: list[float]) -> None:
    database = Flaky()
    assert await commit(database, Draws(0.5), BATCH) == ANSWER
    assert (database.sent, slept) == ([BATCH], [])


@pytest.mark.parametrize("times", range(1, TRIES))
async def test_a_batch_is_repeated_unchanged_after_an_ambiguous_failure(
    slept: list[float], times: int
) -> None:
    database = Flaky(*lost(times))
    assert await commit(database, Draws(0.5), BATCH) == ANSWER
    assert database.sent == [BATCH] * (times + 1)
    assert len(slept) == times


async def test_the_last_failure_is_raised(slept: list[float]) -> None:
    database = Flaky(*lost(TRIES + 1))
    with pytest.raises(Unavailable, match=f"^no answer {TRIES}$"):
        await commit(database, Draws(0.5), BATCH)
    assert len(database.sent) == TRIES == 5
    assert len(slept) == TRIES - 1


async def test_the_wait_doubles_with_full_jitter(slept: list[float]) -> None:
    with pytest.raises(Unavailable):
        await commit(Flaky(*lost(TRIES)), Draws(1.0), BATCH)
    assert slept == pytest.approx([0.2, 0.4, 0.8, 1.6])
    slept.clear()
    with pytest.raises(Unavailable):
        await commit(Flaky(*lost(TRIES)), Draws(0.0, 0.5), BATCH)
    assert slept == pytest.approx([0.0, 0.2, 0.0, 0.8])


@pytest.mark.parametrize("before", [0, 2])
async def test_a_refusal_is_raised_immediately(slept: list[float], before: int) -> None:
    """A repetition would be refused again."""
    database = Flaky(*lost(before), Refused("UNIQUE constraint failed"))
    with pytest.raises(Refused, match="UNIQUE"):
        await commit(database, Draws(0.5), BATCH)
    assert len(database.sent) == before + 1
    assert len(slept) == before


@pytest.mark.parametrize("error", [PortError("odd"), ValueError("ours"), asyncio.CancelledError()])
async def test_nothing_else_is_tried_again(slept: list[float], error: BaseException) -> None:
    database = Flaky(error)
    with pytest.raises(type(error)):
        await commit(database, Draws(0.5), BATCH)
    assert (len(database.sent), slept) == (1, [])


async def test_rows_are_read_by_the_handle_of_what_was_added(slept: list[float]) -> None:
    database = Flaky(*lost(1))
    batch = Batch(database, Draws(0.5))
    changed, read = batch.add(BATCH[0]), batch.add(BATCH[1])
    results = await batch.commit()
    assert (results.rows(changed), results.first(changed)) == ((), None)
    assert (results.rows(read), results.first(read)) == (({"1": 1},), {"1": 1})
    assert database.sent == [BATCH] * 2
    assert len(slept) == 1
