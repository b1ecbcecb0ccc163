"""The entry on one machine: `bizq`, or `python -m consumer`.  It only starts the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumer.cli.group import bizq

if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run the command of this process's arguments, then exit with its code."""
    bizq.main()


if __name__ == "__main__":
    main()
