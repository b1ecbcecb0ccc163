"""Print the SQL that creates a database's first organization and API key.  The key itself goes to standard error.

    python -m scripts.first_key "My company" > key.sql
    npx wrangler d1 execute bizq --remote --file key.sql

The worker's API creates no keys, so that a leaked key cannot create another one.  The SQL contains only the hash of the
key.  The key cannot be computed from it, so the SQL may be logged.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from consumer.local.clock import SystemClock, SystemEntropy
from consumer.service.keys import ROLES, hash_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumer.ports import Entropy

OPERATOR = "operator"


def quoted(text: str) -> str:
    """Quote a text for SQL.  Raises ValueError on a NUL character, because SQL text ends there."""
    if "\0" in text:
        raise ValueError("the text must not contain NUL characters")
    return "'" + text.replace("'", "''") + "'"


def create(organization: str | None, role: str, entropy: Entropy, now_ms: int) -> tuple[str, str]:
    """Return a new key and the SQL that stores it.

    The SQL creates the organization unless one of that name exists.  Only an operator's key has no organization.
    """
    name, secret = entropy.token()[:12], entropy.token()
    row = f"'{name}', '{hash_key(secret)}'"
    columns = "INSERT INTO api_keys (id, hash, organization_id, role, created_ms)"
    if organization is None:
        lines = [f"{columns} VALUES ({row}, NULL, '{role}', {now_ms});"]
    else:
        existing = f"FROM organizations WHERE name = {quoted(organization)}"
        lines = [
            f"INSERT INTO organizations (name) SELECT {quoted(organization)} WHERE NOT EXISTS (SELECT 1 {existing});",
            f"{columns} SELECT {row}, min(id), '{role}', {now_ms} {existing};",
        ]
    lines.append(f"SELECT id AS key, organization_id, role FROM api_keys WHERE id = '{name}';")  # noqa: S608  # hexadecimal
    return f"bizq_{name}_{secret}", "\n".join(lines)


def revoke(key: str, now_ms: int) -> str:
    """Return the SQL that revokes a key immediately.  Accepts the key's id or the whole key."""
    name = quoted(key.removeprefix("bizq_").partition("_")[0])
    change = f"UPDATE api_keys SET revoked_ms = {now_ms} WHERE id = {name} AND revoked_ms IS NULL;"  # noqa: S608  # quoted
    return f"{change}\nSELECT id AS key, revoked_ms FROM api_keys WHERE id = {name};"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the SQL that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("organization", nargs="?", help="its name; created unless one of that name exists")
    parser.add_argument(
        "--role", choices=ROLES, default="admin", help="what the key allows (default: %(default)s)"
    )
    parser.add_argument(
        "--revoke", metavar="KEY", help="revoke this key instead; give its id or the whole key"
    )
    options = parser.parse_args(arguments)
    now_ms = SystemClock().now_ms()
    if options.revoke:
        print(revoke(options.revoke, now_ms))
        return
    if (options.role == OPERATOR) != (options.organization is None):
        parser.error("an operator's key has no organization; every other key needs one")
    key, sql = create(options.organization, options.role, SystemEntropy(), now_ms)
    print(sql)
    print(f"the key (it is not shown again): {key}", file=sys.stderr)


if __name__ == "__main__":
    main()
