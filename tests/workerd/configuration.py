"""The Worker's bindings and triggers, as its wrangler.toml declares them, and the options of a run."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

COMPATIBILITY_DATE: Final = "2026-10-01"


@dataclass(frozen=True, slots=True)
class Configuration:
    """Miniflare's bindings and triggers, and the compatibility date."""

    environment: Mapping[str, Mapping[str, object]]
    triggers: Sequence[Mapping[str, object]] = ()
    compatibility_date: str = COMPATIBILITY_DATE

    @classmethod
    def read(cls, path: Path, *, hurry: bool = True) -> Configuration:
        """Read a wrangler.toml.  In a `hurry`, queues do not wait for batches to fill or before a retry."""
        config = tomllib.loads(path.read_text())
        queues = config.get("queues", {})
        return cls(
            {
                **{
                    d["binding"]: {"type": "d1", "id": d["database_name"]}
                    for d in config.get("d1_databases", [])
                },
                **{k["binding"]: {"type": "kv", "id": k["binding"]} for k in config.get("kv_namespaces", [])},
                **{
                    r["binding"]: {"type": "r2", "name": r["bucket_name"]}
                    for r in config.get("r2_buckets", [])
                },
                **{q["binding"]: {"type": "queue", "name": q["queue"]} for q in queues.get("producers", [])},
                **{
                    r["name"]: {"type": "rate-limit", "namespace": r["namespace_id"], "simple": r["simple"]}
                    for r in config.get("ratelimits", [])
                },
                **{name: {"type": "text", "value": value} for name, value in config.get("vars", {}).items()},
            },
            [_consumer(queue, hurry=hurry) for queue in queues.get("consumers", [])],
            config["compatibility_date"],
        )

    def with_variables(self, **variables: str) -> Configuration:
        """The same with other variables and secrets, which the Worker cannot distinguish."""
        texts = {name: {"type": "text", "value": value} for name, value in variables.items()}
        return replace(self, environment={**self.environment, **texts})


def _consumer(queue: Mapping[str, Any], *, hurry: bool) -> dict[str, object]:
    settings = {
        "type": "queue",
        "name": queue["queue"],
        "maxBatchSize": queue.get("max_batch_size"),
        "maxBatchTimeout": 0 if hurry else queue.get("max_batch_timeout"),
        "maxRetries": queue.get("max_retries"),
        "retryDelay": 0 if hurry else queue.get("retry_delay"),
        "deadLetterQueue": queue.get("dead_letter_queue"),
    }
    return {name: value for name, value in settings.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Options:
    """How to run the Worker.

    `intercept`: the rules of `Workerd.rules` answer `fetch()` of the Worker, then loopback, and nothing else;
    without it, the Worker's requests go out unchanged.
    `persist`: the directory for the files of D1, KV and R2; None = a temporary one that is removed.
    `port`: of the HTTP server on loopback; 0 = any.  `cron_every_s`: fire the cron trigger by itself.
    `watch_imports`: note which modules read the clock during the import of the Worker, which doubles its time.
    """

    main_module: str = "worker"
    intercept: bool = True
    persist: Path | None = None
    port: int = 0
    cron_every_s: float | None = None
    watch_imports: bool = False
    echo_logs: bool = False
