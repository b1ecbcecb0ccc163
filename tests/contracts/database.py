"""What every `Database` must do, so that SQL which is right on one host is right on all.

Fixture: `database`, with no tables.
"""

from __future__ import annotations

from tests.contracts.database_batches import AtomicityContract
from tests.contracts.database_refusals import RefusalContract
from tests.contracts.database_sql import SqlContract
from tests.contracts.database_values import ValueContract


class DatabaseContract(ValueContract, AtomicityContract, RefusalContract, SqlContract):
    """The whole contract of a `Database`."""
