"""Blobs as files: names, failures."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from consumer.local.blobs import FileBlobs, file_name
from consumer.ports import Unavailable
from tests.contracts.blobs import KEYS

if TYPE_CHECKING:
    from pathlib import Path


class TestBlobFiles:
    def test_no_name_leaves_the_directory_and_no_two_are_alike(self) -> None:
        names = [file_name(key) for key in KEYS]

        assert all(
            re.fullmatch(r"[a-z0-9_=-][a-zA-Z0-9_.%-]*|%[0-9A-F]{2}[a-zA-Z0-9_.%-]*", name) for name in names
        )
        assert all(len(name) <= 200 for name in names)
        assert len({name.casefold() for name in names}) == len(KEYS)

    def test_a_hash_is_no_key_of_its_own(self) -> None:
        assert file_name(file_name("k" * 500)) != file_name("k" * 500)

    @pytest.mark.parametrize("fsync", [True, False])
    async def test_one_file_for_a_key_and_nothing_else(self, tmp_path: Path, *, fsync: bool) -> None:
        blobs = FileBlobs(tmp_path / "deep" / "blobs", fsync=fsync)
        await blobs.put("results/1.json", b"first")
        await blobs.put("results/1.json", b"second")

        assert [file.name for file in (tmp_path / "deep" / "blobs").iterdir()] == ["results%2F1.json"]
        assert await blobs.get("results/1.json") == b"second"

    async def test_a_failed_put_leaves_what_was_there(
        self, blobs: FileBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await blobs.put("key", b"first")

        def fail(path: Path, _value: bytes) -> None:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(blobs, "_write", fail)
        with pytest.raises(Unavailable, match="No space left"):
            await blobs.put("key", b"second")

        assert await blobs.get("key") == b"first"
        assert [file.name for file in (tmp_path / "blobs").iterdir()] == ["key"]

    async def test_a_missing_directory_is_an_outage_and_no_missing_key(
        self, blobs: FileBlobs, tmp_path: Path
    ) -> None:
        await blobs.put("key", b"value")
        (tmp_path / "blobs").rename(tmp_path / "away")

        with pytest.raises(Unavailable, match="is missing"):
            await blobs.get("key")

        (tmp_path / "away").rename(tmp_path / "blobs")
        assert await blobs.get("key") == b"value"

    async def test_a_file_that_cannot_be_read_or_deleted_is_unavailable(
        self, blobs: FileBlobs, tmp_path: Path
    ) -> None:
        (tmp_path / "blobs" / "key").mkdir()

        with pytest.raises(Unavailable):
            await blobs.get("key")
        with pytest.raises(Unavailable):
            await blobs.delete("key")
        with pytest.raises(Unavailable):
            await blobs.put("key", b"value")

    def test_a_directory_that_cannot_be_made_is_unavailable(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")

        with pytest.raises(Unavailable):
            FileBlobs(tmp_path / "file")
