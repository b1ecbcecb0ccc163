"""Emptying the bindings between two tests."""

from __future__ import annotations

from typing import Any

_OURS = """
SELECT type, name FROM sqlite_master
 WHERE type IN ('view', 'table', 'trigger')
   AND name NOT GLOB 'sqlite_*' AND name NOT GLOB '_cf_*' AND name NOT GLOB 'd1_*'
 ORDER BY CASE type WHEN 'trigger' THEN 0 WHEN 'view' THEN 1 ELSE 2 END
"""


async def wipe_database(binding: Any) -> None:
    """Drop everything: triggers first, for they may forbid deleting; foreign keys are looked at in the end."""
    found = (await binding.prepare(_OURS).all())["results"]
    if not found:
        return
    drops = [f'DROP {row["type"]} IF EXISTS "{row["name"]}"' for row in found]
    await binding.batch([binding.prepare(sql) for sql in ("PRAGMA defer_foreign_keys = on", *drops)])


_SCHEMA = """
SELECT name, sql FROM sqlite_master
 WHERE sql IS NOT NULL AND name NOT GLOB 'sqlite_*' AND name NOT GLOB '_cf_*' AND name NOT GLOB 'd1_*'
 ORDER BY CASE type WHEN 'table' THEN 0 WHEN 'index' THEN 1 ELSE 2 END, name
"""

_migrated: list[dict[str, str]] = []


async def empty_tables(binding: Any) -> None:
    """Make the database what it was at the first call, when it had just been migrated."""
    found = (await binding.prepare(_SCHEMA).all())["results"]
    if not _migrated:
        _migrated.extend(found)
    if found == _migrated:
        tables = [row["name"] for row in found if row["sql"].startswith("CREATE TABLE")]
        statements = [f'DELETE FROM "{name}"' for name in tables]
    else:
        await wipe_database(binding)
        statements = [row["sql"] for row in _migrated]
    await binding.batch([binding.prepare(sql) for sql in ("PRAGMA defer_foreign_keys = on", *statements)])


async def wipe_key_values(binding: Any) -> None:
    """Delete every key of a KV namespace."""
    for entry in (await binding.list())["keys"]:
        await binding.delete(entry["name"])


async def wipe_blobs(binding: Any) -> None:
    """Delete every object of a bucket."""
    for entry in (await binding.list()).objects:
        await binding.delete(entry.key)
