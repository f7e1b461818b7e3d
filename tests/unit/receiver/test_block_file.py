"""What a block file holds, and what it does where the page cache cannot be passed by."""

import errno
import fcntl
import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.storage.block_file import BLOCK_BYTES, BlockFile, Blocks

PREAMBLE = b"preamble"


def write(path: Path, parts: list[bytes]) -> str:
    """Write a file of these parts; its digest."""
    file = BlockFile(str(path), Blocks(), PREAMBLE)
    for part in parts:
        file.append([memoryview(part)])
    file.sync()
    assert file.size_bytes == path.stat().st_size
    digest = file.digest()
    file.close()
    return digest


@settings(deadline=None, max_examples=25)  # each writes a file to the disk
@given(sizes=st.lists(st.integers(0, BLOCK_BYTES + 5), max_size=6))
def test_file_is_the_preamble_and_what_was_appended(sizes: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever the parts' sizes: every byte is there, none more, and the digest is of what was appended."""
    parts = [bytes([number + 1]) * size for number, size in enumerate(sizes)]
    path = tmp_path_factory.mktemp("files") / "file"

    digest = write(path, parts)

    assert path.read_bytes() == PREAMBLE + b"".join(parts)
    assert digest == hashlib.sha256(b"".join(parts)).hexdigest()


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1])
def test_end_of_a_file_is_written_to_the_byte(size: int, tmp_path: Path) -> None:
    """Whether all of it, some of it or nothing goes through the page cache."""
    part = b"x" * (size - len(PREAMBLE))

    write(tmp_path / "file", [part])

    assert (tmp_path / "file").read_bytes() == PREAMBLE + part


def test_blocks_that_are_used_again_bring_nothing_along(tmp_path: Path) -> None:
    """A short file after a long one on the same block is short; two files at once have different blocks."""
    blocks = Blocks()
    first, second = (BlockFile(str(tmp_path / name), blocks, PREAMBLE) for name in ("first", "second"))
    first.append([memoryview(b"1" * 100_000)])
    second.append([memoryview(b"2")])
    first.sync()
    first.close()
    third = BlockFile(str(tmp_path / "third"), blocks, PREAMBLE)
    third.append([memoryview(b"3")])
    for file in (second, third):
        file.sync()
        file.close()

    assert [(tmp_path / name).read_bytes()[len(PREAMBLE) :] for name in ("second", "third")] == [b"2", b"3"]


def test_closing_twice_gives_the_block_back_once(tmp_path: Path) -> None:
    """A block is never two files' at a time."""
    blocks = Blocks()
    file = BlockFile(str(tmp_path / "file"), blocks, PREAMBLE)
    file.close()
    file.close()

    assert blocks.take() is not blocks.take()


def test_file_system_that_cannot_open_so_is_written_through_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux creates the file and then fails (EINVAL): the file is written all the same."""
    plain_open = os.open

    def refuse(path: str, flags: int, mode: int = 0o777) -> int:
        descriptor = plain_open(path, flags & ~os.O_DIRECT, mode)
        if flags & os.O_DIRECT:
            os.close(descriptor)
            raise OSError(errno.EINVAL, "")
        return descriptor

    monkeypatch.setattr(os, "open", refuse)
    write(tmp_path / "file", [b"y" * 300_000])

    assert (tmp_path / "file").read_bytes() == PREAMBLE + b"y" * 300_000


def test_disk_with_larger_blocks_is_written_through_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that is refused for its alignment (EINVAL) is done again without O_DIRECT; another error is told."""
    plain_write = os.pwrite

    def refuse(descriptor: int, data: memoryview, offset: int) -> int:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EINVAL, "")
        if len(data) > BLOCK_BYTES // 2:
            raise OSError(errno.ENOSPC, "no room")
        return plain_write(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", refuse)
    write(tmp_path / "short", [b"z"])

    assert (tmp_path / "short").read_bytes() == PREAMBLE + b"z"
    with pytest.raises(OSError, match="no room"):
        write(tmp_path / "long", [b"z" * (BLOCK_BYTES - len(PREAMBLE))])
