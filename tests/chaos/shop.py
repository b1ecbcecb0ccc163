"""The provider, in a process of its own: `python -m tests.chaos.shop LEDGER SEED SPEED BEGAN_MS`.

It does each job, charges for it, and writes that to its ledger before it replies.  The seed and the key decide the
rest: the reply comes immediately, late, too late or never; the work continues after an acceptance, and a signed webhook
comes after or before it, once or twice; the job fails but is charged, or gets a nonsense answer.
The shop prints its address on standard output, and ends with its standard input.  A line there, such as `hangs 3`, lets
it fail for some seconds: it refuses connections, hangs, answers 503, or breaks off its replies after the work was done.
"""

from __future__ import annotations

import hashlib
import json
import random
import sqlite3
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx2
from standardwebhooks import Webhook

from tests.chaos.clock import Fast
from tests.workerd.loopback import Answer, Loopback, Seen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from consumer.ports import Clock

PRICE_MICRO: Final = 10_000
"""The maximum cost of a job, as the profile declares it."""
SECRET: Final = "whsec_c2VjcmV0IG9mIHRoZSBjaGFvcyBhbG9uZSwgMzIgYnl0ZXM="
CALL_S: Final = 2
"""The deadline of a call in the templates: later replies are too late.  In seconds."""
TOO_LATE_S: Final = CALL_S + 1.5
LARGE: Final = 70_000
"""The length of an answer that is stored in a blob."""
DELIVERIES: Final = 12
"""The maximum number of deliveries of a refused webhook."""

PLAYS: Final[Mapping[str, int]] = {
    "at once": 34,
    "slow": 14,
    "webhook": 12,
    "early webhook": 4,
    "two webhooks": 4,
    "reply lost": 7,
    "reply too late": 3,
    "never arrived": 5,
    "busy": 6,
    "fails for money": 3,
    "nonsense for money": 5,
    "large": 3,
}
"""The behaviours of the shop, with their weights."""
ASYNCHRONOUS: Final = frozenset({"webhook", "early webhook", "two webhooks"})

TABLES: Final = """
CREATE TABLE jobs (id INTEGER PRIMARY KEY, key TEXT NOT NULL, play TEXT NOT NULL, state TEXT NOT NULL,
  answer TEXT, charged_micro INTEGER NOT NULL, done_ms INTEGER NOT NULL);
CREATE INDEX jobs_key ON jobs (key);
"""


def answer_to(value: object) -> dict[str, Any]:
    """The shop's work on a value; a test that knows the value can check an answer."""
    if isinstance(value, dict):
        value = {name: part for name, part in value.items() if name != "more"}
    return {"answer": hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:24]}


@dataclass(frozen=True, slots=True)
class Job:
    """A row of the ledger."""

    id: int
    state: str
    answer: str | None
    charged_micro: int
    done_ms: int


class Ledger:
    """The charges by key, written to disk before any reply."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.executescript(TABLES)
        self._lock = threading.Lock()

    def write(self, key: str, play: str, state: str, answer: object, charged_micro: int, done_ms: int) -> Job:
        text = None if answer is None else json.dumps(answer)
        with self._lock:
            cursor = self._connection.execute(
                "INSERT INTO jobs (key, play, state, answer, charged_micro, done_ms) VALUES (?, ?, ?, ?, ?, ?)",
                (key, play, state, text, charged_micro, done_ms),
            )
        return Job(int(cursor.lastrowid or 0), state, text, charged_micro, done_ms)

    def find(self, column: str, value: object) -> Job | None:
        """The newest job with a key or an id."""
        with self._lock:
            row = self._connection.execute(
                f"SELECT id, state, answer, charged_micro, done_ms FROM jobs WHERE {column} = ?"
                " ORDER BY id DESC LIMIT 1",
                (value,),
            ).fetchone()
        return None if row is None else Job(*row)


class Shop:
    """The script of the server."""

    def __init__(self, ledger: Ledger, seed: str, clock: Clock) -> None:
        self._ledger = ledger
        self._seed = seed
        self._clock = clock
        self._tries: dict[str, int] = {}
        self._failure = ("", 0.0)
        self._postmen = ThreadPoolExecutor(16)
        self._client = httpx2.Client(timeout=5, trust_env=False)

    def fail(self, how: str, seconds: float) -> None:
        """Fail every request for some seconds."""
        self._failure = how, time.monotonic() + seconds

    def __call__(self, seen: Seen) -> Answer:
        how, until = self._failure
        left_s = until - time.monotonic()
        if left_s <= 0:
            return self._answer(seen)
        if how == "503":
            return Answer(status=503, json={"why": "outage"})
        if how == "drops":
            return replace(self._answer(seen), reset="body")
        return Answer(reset="headers", delay_s=left_s if how == "hangs" else 0.0)

    def _answer(self, seen: Seen) -> Answer:
        if seen.method == "POST":
            return self._take(seen.json())
        path, _, query = seen.path.partition("?")
        found = (
            self._ledger.find("key", query.removeprefix("key="))
            if query
            else self._ledger.find("id", int(path.rpartition("/")[2]))
        )
        if found is None:
            return Answer(status=404, json={"why": "no such job"})
        return Answer(json=self._shown(found))

    def _shown(self, job: Job) -> dict[str, Any]:
        if job.done_ms > time.time() * 1000:
            return {"state": "working", "id": job.id}
        charged = f"{job.charged_micro / 1_000_000:.6f}"
        answer = {} if job.answer is None else {"answer": json.loads(job.answer)}
        return {"state": job.state, "id": job.id, "charged": charged, **answer}

    def _take(self, asked: Mapping[str, Any]) -> Answer:
        key = str(asked["key"])
        number = self._tries[key] = self._tries.get(key, 0) + 1
        dice = random.Random(f"{self._seed}:{key}:{number}")  # noqa: S311  # to be repeated
        blind = asked.get("callback") is None
        plays = {name: weight for name, weight in PLAYS.items() if not (blind and name in ASYNCHRONOUS)}
        (play,) = dice.choices(list(plays), list(plays.values()))
        if play == "busy":
            return Answer(status=dice.choice([429, 503]), json={"why": play}, headers=[("retry-after", "1")])
        if play == "never arrived":
            return Answer(reset="headers")
        return self._work(key, play, asked, dice)

    def _work(self, key: str, play: str, asked: Mapping[str, Any], dice: random.Random) -> Answer:
        answer: object = answer_to(asked["value"])
        state, takes_s = "done", dice.uniform(0, 0.03)
        if play == "fails for money":
            state, answer = "failed", None
        elif play == "nonsense for money":
            answer = {"answer": 7}
        elif play == "large":
            answer = {**answer_to(asked["value"]), "more": "x" * LARGE}
        elif play == "slow" or play in ASYNCHRONOUS:
            takes_s = dice.uniform(0.2, CALL_S * 0.6)
        elif play == "reply too late":
            takes_s = TOO_LATE_S
        done_ms = int((time.time() + takes_s) * 1000)
        charged = dice.randint(PRICE_MICRO // 10, PRICE_MICRO)
        job = self._ledger.write(key, play, state, answer, charged, done_ms)
        if play == "reply lost":
            return Answer(reset="headers", delay_s=takes_s)
        if play not in ASYNCHRONOUS:
            return Answer(
                json={**self._shown(Job(job.id, job.state, job.answer, charged, 0))}, delay_s=takes_s
            )
        for _ in range(2 if play == "two webhooks" else 1):
            self._postmen.submit(self._tell, job, str(asked["callback"]), takes_s)
        late_s = takes_s + 0.3 if play == "early webhook" else 0
        return Answer(status=202, json={"state": "working", "id": job.id}, delay_s=late_s)

    def _tell(self, job: Job, address: str, after_s: float) -> None:
        """Send a signed webhook until it is accepted."""
        time.sleep(after_s)
        body = json.dumps(self._shown(Job(job.id, job.state, job.answer, job.charged_micro, 0)))
        for number in range(DELIVERIES):
            now = datetime.fromtimestamp(self._clock.now_ms() // 1000, UTC)
            event = f"job-{job.id}"
            headers = {
                "webhook-id": event,
                "webhook-timestamp": str(int(now.timestamp())),
                "webhook-signature": Webhook(SECRET).sign(event, now, body),
            }
            try:
                if self._client.post(address, content=body, headers=headers).is_success:
                    return
            except httpx2.HTTPError:
                pass
            time.sleep(0.2 * number)


def main() -> None:
    """Serve until standard input ends."""
    ledger, seed, speed, began_ms = sys.argv[1:]
    shop = Shop(Ledger(Path(ledger)), seed, Fast(int(speed), int(began_ms)))
    port = 0
    while True:
        with Loopback(shop, port) as server:
            if not port:
                print(server.url, flush=True)  # noqa: T201  # its address for the starting process
            port = int(server.url.rpartition(":")[2])
            for line in sys.stdin:
                how, seconds = line.split()
                shop.fail(how, float(seconds))
                if how == "refuses":  # connections that are open already are broken
                    break
            else:
                return
        time.sleep(float(seconds))


if __name__ == "__main__":
    main()
