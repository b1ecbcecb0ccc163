"""Print the SQL that gives a database its first organization and API key; the key itself goes to standard error.

    python -m scripts.first_key "My company" > key.sql
    npx wrangler d1 execute bizq --remote --file key.sql

The worker's API makes neither, so that a key that leaks cannot make another one.  The SQL holds only the hash of
the key, which cannot be turned back: it may be logged.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from consumer.local.clock import SystemClock, SystemEntropy
from consumer.service.admin import ROLES, hash_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumer.ports import Entropy

OPERATOR = "operator"


def quoted(text: str) -> str:
    """Text as SQL has it.  Raises ValueError on NUL, where SQL would end."""
    if "\0" in text:
        raise ValueError("text without NUL characters")
    return "'" + text.replace("'", "''") + "'"


def made(organization: str | None, role: str, entropy: Entropy, now_ms: int) -> tuple[str, str]:
    """The key and its SQL.  An organization of that name is used when there is one; an operator's key has none."""
    name, secret = entropy.token()[:12], entropy.token()
    row = f"'{name}', '{hash_key(secret)}'"
    columns = "INSERT INTO api_keys (id, hash, organization_id, role, created_ms)"
    if organization is None:
        lines = [f"{columns} VALUES ({row}, NULL, '{role}', {now_ms});"]
    else:
        known = f"FROM organizations WHERE name = {quoted(organization)}"
        lines = [
            f"INSERT INTO organizations (name) SELECT {quoted(organization)} WHERE NOT EXISTS (SELECT 1 {known});",
            f"{columns} SELECT {row}, min(id), '{role}', {now_ms} {known};",
        ]
    lines.append(f"SELECT id AS key, organization_id, role FROM api_keys WHERE id = '{name}';")  # noqa: S608  # hexadecimal
    return f"bizq_{name}_{secret}", "\n".join(lines)


def revoked(key: str, now_ms: int) -> str:
    """The SQL that ends a key at once.  Accepts its id or the whole of it."""
    name = quoted(key.removeprefix("bizq_").partition("_")[0])
    change = f"UPDATE api_keys SET revoked_ms = {now_ms} WHERE id = {name} AND revoked_ms IS NULL;"  # noqa: S608  # quoted
    return f"{change}\nSELECT id AS key, revoked_ms FROM api_keys WHERE id = {name};"


def main(arguments: Sequence[str] | None = None) -> None:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("organization", nargs="?", help="its name; made when there is none of that name")
    parser.add_argument("--role", choices=ROLES, default="admin", help="what the key allows (%(default)s)")
    parser.add_argument("--revoke", metavar="KEY", help="instead: end this key, by its id or the whole of it")
    options = parser.parse_args(arguments)
    now_ms = SystemClock().now_ms()
    if options.revoke:
        print(revoked(options.revoke, now_ms))
        return
    if (options.role == OPERATOR) != (options.organization is None):
        parser.error("an operator's key has no organization, every other key has one")
    key, sql = made(options.organization, options.role, SystemEntropy(), now_ms)
    print(sql)
    print(f"the key, which is not shown again: {key}", file=sys.stderr)


if __name__ == "__main__":
    main()
