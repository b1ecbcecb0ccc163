"""Links for people are signed, and expire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.errors import NotFound
from consumer.service.links import GRACE_MS, Expired, read, token
from consumer.store.sql import execution_id

SECRET = "s3cret"
NOW_MS = 1_795_305_600_000
EXECUTION = execution_id(7, 1)
MARK = "0123456789abcdef"
LINK = token(SECRET, EXECUTION, MARK, NOW_MS)


def test_a_link_opens_its_execution() -> None:
    assert read(SECRET, LINK, NOW_MS) == (EXECUTION, MARK, "person")


def test_a_link_outlives_its_deadline_and_ends_to_the_millisecond() -> None:
    assert read(SECRET, LINK, NOW_MS + GRACE_MS - 1) == (EXECUTION, MARK, "person")
    with pytest.raises(Expired):
        read(SECRET, LINK, NOW_MS + GRACE_MS)


def test_an_expired_link_counts_as_not_found() -> None:
    assert issubclass(Expired, NotFound)


def test_a_link_is_the_same_each_time() -> None:
    """A reminder carries the same link as the first message."""
    assert token(SECRET, EXECUTION, MARK, NOW_MS) == LINK


def test_a_link_fits_into_a_path_and_does_not_contain_the_secret() -> None:
    assert len(LINK) < 100
    assert SECRET not in LINK
    assert LINK.replace(".", "").isalnum()


@pytest.mark.parametrize(
    "forged",
    [
        "",
        "x",
        "..",
        f"{EXECUTION}",
        f"{EXECUTION}.{NOW_MS}",
        f"{EXECUTION}.{NOW_MS}.{MARK}." + "0" * 48,
        LINK.replace(str(EXECUTION), str(EXECUTION + 1)),
        LINK.replace(str(NOW_MS + GRACE_MS), str(NOW_MS + GRACE_MS + 1)),
        LINK.replace(MARK, "f" * 16),
        LINK.replace(MARK, ""),
        LINK.upper(),
        LINK[:-1],
        LINK + "0",
        LINK + ".0",
        f" {LINK}",
        f"-{LINK}",
        LINK.replace(".", ",", 1),
        "9" * 10_000 + LINK,
        "\0",
        "😀",
    ],
)
def test_a_forged_link_is_not_found(forged: str) -> None:
    with pytest.raises(NotFound) as refused:
        read(SECRET, forged, NOW_MS)
    assert not isinstance(refused.value, Expired)


def test_a_link_of_another_deployment_is_not_found() -> None:
    with pytest.raises(NotFound):
        read("other", LINK, NOW_MS)


def test_a_forged_link_does_not_show_that_its_time_is_over() -> None:
    with pytest.raises(NotFound) as refused:
        read("other", LINK, NOW_MS + 2 * GRACE_MS)
    assert not isinstance(refused.value, Expired)


@given(st.integers(0, len(LINK) - 1), st.characters(codec="ascii"))
def test_a_link_with_one_changed_character_is_not_found(place: int, character: str) -> None:
    tampered = LINK[:place] + character + LINK[place + 1 :]
    if tampered == LINK:
        return
    with pytest.raises(NotFound):
        read(SECRET, tampered, NOW_MS)


@given(st.text(max_size=120))
def test_any_other_text_is_not_found(value: str) -> None:
    with pytest.raises(NotFound):
        read(SECRET, value, NOW_MS)


@given(st.integers(1, 2**52), st.integers(0, 2**52), st.text(min_size=1))
def test_every_execution_has_a_link_of_its_own(execution: int, deadline: int, secret: str) -> None:
    secret = secret.encode("utf-8", "replace").decode()
    link = token(secret, execution, MARK, deadline)
    assert read(secret, link, deadline) == (execution, MARK, "person")
    question = token(secret, execution, MARK, deadline, "question")
    assert question != link
    assert read(secret, question, deadline) == (execution, MARK, "question")
    assert token(secret, execution, MARK[::-1], deadline) != link
    assert token(secret, execution + 1, MARK, deadline) != link
    assert token(secret, execution, MARK, deadline + 1) != link
