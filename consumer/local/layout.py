"""The files of a data directory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths below the directory `root`."""

    root: Path

    @property
    def database(self) -> Path:
        return self.root / "bizq.sqlite3"

    @property
    def status(self) -> Path:
        """The live statuses of tasks."""
        return self.root / "status.sqlite3"

    @property
    def queues(self) -> Path:
        """The queues of doorbells and of dead letters."""
        return self.root / "queues.sqlite3"

    @property
    def blobs(self) -> Path:
        return self.root / "blobs"

    @property
    def profiles(self) -> Path:
        return self.root / "profiles.json"

    @property
    def link_secret(self) -> Path:
        return self.root / "link-secret"

    @property
    def public_url(self) -> Path:
        """The address at which the last `bizq dev` of this directory was reached.  Links for people begin with it."""
        return self.root / "public-url"

    @property
    def presence(self) -> Path:
        """The lock that every working process of this directory holds."""
        return self.root / "working.lock"

    @property
    def model_log(self) -> Path:
        return self.root / "model.log"

    @property
    def worker_log(self) -> Path:
        return self.root / "worker.log"
