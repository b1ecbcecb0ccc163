"""The name of the queue of dead letters is the same in the code and in wrangler.toml."""

from __future__ import annotations

import tomllib

from consumer.core.message import DEAD_LETTER_QUEUE
from scripts.stage import ROOT


def test_the_worker_recognizes_only_the_queue_of_dead_letters() -> None:
    queues = tomllib.loads((ROOT / "wrangler.toml").read_text())["queues"]
    doorbells, letters = queues["consumers"]

    assert doorbells["dead_letter_queue"] == letters["queue"] == f"bizq-{DEAD_LETTER_QUEUE}"
    assert [producer["queue"] for producer in queues["producers"]] == [doorbells["queue"]]
    assert not doorbells["queue"].endswith(DEAD_LETTER_QUEUE)
