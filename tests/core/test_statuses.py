"""What a status proves, and that the table says so about every status."""

from __future__ import annotations

from http import HTTPStatus

import pytest

from consumer.core.statuses import PROOF, Proof, proof_of

UNPROVEN = {
    *range(100, 200), *range(200, 300),      # nothing was refused
    303,                                     # the result is somewhere else
    408, 409, 424,                           # timeouts, locks, broken answers behind a gateway
    500, 502, 504, 506, 507, 508, 510,       # the server, or one behind it, broke off
}  # fmt: skip


def test_every_registered_status_has_its_class() -> None:
    """A status that is new in the registry must be thought about before it can prove anything."""
    for status in HTTPStatus:
        assert (status.value in PROOF) != (status.value in UNPROVEN), status


@pytest.mark.parametrize(
    "status", [*range(100, 200), 303, 408, 409, 424, 444, 460, 499, 500, 502, 504, 520, 522, 524, 598, 599]
)
def test_a_status_that_a_proxy_makes_after_it_forwarded_proves_nothing(status: int) -> None:
    assert proof_of(status) is Proof.NONE


@pytest.mark.parametrize("status", [-1, 0, 99, 419, 430, 527, 561, 600, 999])
def test_a_status_without_a_registered_meaning_proves_nothing(status: int) -> None:
    assert proof_of(status) is Proof.NONE
