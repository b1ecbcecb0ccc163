"""Which hosts of addresses lie inside a private network, as far as the address alone shows it.

A name is not resolved: a Worker cannot do that, and the answer could be another one a moment later.  So a public name
that leads to a private address is not found here.
"""

from __future__ import annotations

import re
from typing import Final

_PRIVATE_ENDINGS: Final = (
    "arpa", "corp", "home", "internal", "intranet", "lan", "local", "localdomain", "localhost", "private",
)  # fmt: skip
"""The last labels of names that only a private network resolves."""
_NUMBER: Final = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]+", re.ASCII)
_TRANSLATED: Final = "64:ff9b::"
"""The network whose addresses carry an IPv4 address in their last four bytes (RFC 6052)."""


def is_private(host: str) -> bool:
    """Whether a host, as it stands in an address, is no host of the public internet.

    Numbers count in every form in which a client reads them: `127.1`, `0x7f000001`, `2130706433` and `[::ffff:7f00:1]`
    are all this machine.  A name without a dot, and a number that no client can read, count as private too."""
    name = host.strip("[]").rstrip(".").lower()
    if ":" in name:
        return not _is_public(name)
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        number = _ipv4(labels)
        return number is None or not _is_public(number)
    return len(labels) == 1 or labels[-1] in _PRIVATE_ENDINGS


def _ipv4(labels: list[str]) -> int | None:
    """The number of an IPv4 address of one to four parts, the last of which fills the rest; None if it is none."""
    if len(labels) > 4 or not all(_NUMBER.fullmatch(label) and len(label) <= 16 for label in labels):
        return None
    try:
        *first, last = [_integer(label) for label in labels]
    except ValueError:  # an octal number with the digit 8 or 9
        return None
    if any(part > 255 for part in first) or last >= 256 ** (4 - len(first)):
        return None
    return sum(part << (24 - 8 * place) for place, part in enumerate(first)) + last


def _integer(label: str) -> int:
    if label[:2] in ("0x", "0X"):
        return int(label[2:] or "0", 16)
    return int(label, 8 if label.startswith("0") and len(label) > 1 else 10)


def _is_public(address: str | int) -> bool:
    from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network  # noqa: PLC0415  # seldom needed

    try:
        found: IPv4Address | IPv6Address = ip_address(address)
    except ValueError:
        return False
    if isinstance(found, IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if found in ip_network(f"{_TRANSLATED}/96"):
            inner = IPv4Address(int(found) & 0xFFFF_FFFF)
        found = inner or found
    return found.is_global and not found.is_multicast
