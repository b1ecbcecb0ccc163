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
    """Drop everything: triggers first, because they may forbid deletes; foreign keys are checked at the end."""
    found = (await binding.prepare(_OURS).all())["results"]
    if not found:
        return
    drops = [f'DROP {row["type"]} IF EXISTS "{row["name"]}"' for row in found]
    await binding.batch([binding.prepare(sql) for sql in ("PRAGMA defer_foreign_keys = on", *drops)])


_THEIRS = "sql IS NOT NULL AND name NOT GLOB 'sqlite_*' AND name NOT GLOB '_cf_*' AND name NOT GLOB 'd1_*'"
_SCHEMA = f"""
SELECT name, sql FROM sqlite_master WHERE {_THEIRS}
 ORDER BY CASE type WHEN 'table' THEN 0 WHEN 'index' THEN 1 ELSE 2 END, name
"""
_OUTLINE = f"""
SELECT group_concat(name || length(sql)) AS outline
  FROM (SELECT name, sql FROM sqlite_master WHERE {_THEIRS} ORDER BY name)
"""


class _Migrated:
    """The rows of the database at the first call."""

    def __init__(self, objects: list[dict[str, str]], outline: str) -> None:
        self.objects = objects
        self.outline = outline
        named = [row["name"] for row in objects if row["sql"].startswith("CREATE TABLE")]
        self.tables = [*named, "sqlite_sequence"]
        checks = ", ".join(f'EXISTS (SELECT 1 FROM "{name}") AS "{name}"' for name in self.tables)
        self.look = f"SELECT {checks}"


_migrated: list[_Migrated] = []


async def empty_tables(binding: Any) -> None:
    """Restore the database to its state at the first call, when it had just been migrated."""
    outline = (await binding.prepare(_OUTLINE).all())["results"][0]["outline"]
    if not _migrated:
        _migrated.append(_Migrated((await binding.prepare(_SCHEMA).all())["results"], outline))
    (first,) = _migrated
    if outline == first.outline:
        (full,) = (await binding.prepare(first.look).all())["results"]
        statements = [f'DELETE FROM "{name}"' for name in first.tables if full[name]]
        if "ledger" in first.tables and full["task_executions"]:
            statements.append('DELETE FROM "ledger"')  # which the deletes have filled
    else:
        await wipe_database(binding)
        statements = [row["sql"] for row in first.objects]
    if statements:
        await binding.batch([binding.prepare(sql) for sql in ("PRAGMA defer_foreign_keys = on", *statements)])


async def wipe_key_values(binding: Any) -> None:
    """Delete every key of a KV namespace."""
    for entry in (await binding.list())["keys"]:
        await binding.delete(entry["name"])


async def wipe_blobs(binding: Any) -> None:
    """Delete every object of a bucket."""
    for entry in (await binding.list()).objects:
        await binding.delete(entry.key)
