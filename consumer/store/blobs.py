"""Large texts for which the blob store was away, in parts that a row can hold."""

from __future__ import annotations

from typing import Final

from consumer.store.sql import Query

# Keep one part of a text.  The key carries a digest of the text, so that a part that is there already is the same.
PARK: Final = Query("""
    INSERT INTO blob_parts (key, part, data) VALUES (:key, :part, :data) ON CONFLICT (key, part) DO NOTHING
""")

# Read the parts of a text in their order.
PARKED: Final = Query("SELECT data FROM blob_parts WHERE key = :key ORDER BY part")
