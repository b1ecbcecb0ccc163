"""The local entry: `bizq`, or `python -m consumer`.  Wiring only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumer.cli.group import bizq

if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and end the process."""
    bizq.main()


if __name__ == "__main__":
    main()
