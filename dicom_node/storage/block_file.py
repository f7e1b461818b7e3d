"""A file that is written in large blocks past the page cache, and hashed on the way.

What is synced at once gains nothing from the page cache: it costs a copy, pages that displace others, and a second
pass to write them back; that is more than half of a receiver's system time. So blocks go to the disk from memory of
their own (O_DIRECT, open(2)), and where a file system does not take that, as everybody's do. So does the end of a file
that does not fill the alignment: padding it and cutting the file to its size makes ext4 read that page back.
"""

import errno
import fcntl
import hashlib
import mmap
import os
from collections.abc import Sequence
from typing import Final

__all__ = ["BLOCK_BYTES", "BlockFile", "Blocks"]

BLOCK_BYTES = 655_360
"""A CT slice of 512 x 512 and its header go to the disk at once."""
_ALIGNMENT = 4096
"""Of memory, offsets and lengths; disks with larger logical blocks are written through the page cache."""
_WORTH_A_WRITE_BYTES = 65_536
"""A file's end that is shorter goes through the page cache, whole: a copy costs less than waiting for the disk."""


class Blocks:
    """Blocks of page-aligned memory, used again and again: as many as files were ever written at once."""

    def __init__(self) -> None:
        self._free: list[memoryview] = []

    def take(self) -> memoryview:
        """A block that nobody else has."""
        try:
            return self._free.pop()
        except IndexError:
            return memoryview(mmap.mmap(-1, BLOCK_BYTES))

    def give_back(self, block: memoryview) -> None:
        """Let others have it."""
        self._free.append(block)


class BlockFile:
    """A new file: a preamble, then what is appended. Only the latter is hashed."""

    def __init__(self, path: str, blocks: Blocks, preamble: bytes) -> None:
        """Create the file.

        Raises:
            OSError: the disk refused, or the file exists.
        """
        self._descriptor: int | None = _create(path)
        self._blocks: Final = blocks
        self._block = blocks.take()
        self._block[: len(preamble)] = preamble
        self._filled = self._hashed = len(preamble)
        self._written = 0
        self._whole = False
        self._hash = hashlib.sha256()

    @property
    def size_bytes(self) -> int:
        """The preamble, and all that was appended."""
        return self._written + self._filled

    @property
    def descriptor(self) -> int:
        """The open file's."""
        assert self._descriptor is not None  # noqa: S101 - nobody asks once it is closed
        return self._descriptor

    def append(self, parts: Sequence[memoryview]) -> None:
        """Take the bytes; what fills a block is written.

        Raises:
            OSError: the disk refused.
        """
        for part in parts:
            taken = 0
            while taken < len(part):
                count = min(len(part) - taken, BLOCK_BYTES - self._filled)
                self._block[self._filled : self._filled + count] = part[taken : taken + count]
                self._filled += count
                taken += count
                if self._filled == BLOCK_BYTES:
                    self._hash_block()
                    self._write(0, BLOCK_BYTES)
                    self._written += BLOCK_BYTES
                    self._filled = self._hashed = 0

    def digest(self) -> str:
        """The SHA-256 of what was appended so far, in hexadecimal."""
        self._hash_block()
        return self._hash.hexdigest()

    def write_out(self) -> None:
        """Have all of it in the file; nothing is appended any more.

        Raises:
            OSError: the disk refused.
        """
        if self._whole:
            return
        self._hash_block()
        aligned = self._filled // _ALIGNMENT * _ALIGNMENT if self._filled >= _WORTH_A_WRITE_BYTES else 0
        self._write(0, aligned)
        if aligned < self._filled:
            _write_through_the_cache(self.descriptor)
            self._write(aligned, self._filled)
        self._whole = True

    def sync(self) -> None:
        """Have all of it on the disk.

        Raises:
            OSError: the disk refused.
        """
        self.write_out()
        os.fdatasync(self.descriptor)

    def close(self) -> None:
        """Give descriptor and block back; once more does nothing."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            self._blocks.give_back(self._block)
            os.close(descriptor)

    def _hash_block(self) -> None:
        self._hash.update(self._block[self._hashed : self._filled])
        self._hashed = self._filled

    def _write(self, start: int, stop: int) -> None:
        """Write this part of the block to its place in the file."""
        while start < stop:
            try:
                start += os.pwrite(self.descriptor, self._block[start:stop], self._written + start)
            except OSError as error:
                if error.errno != errno.EINVAL or not _write_through_the_cache(self.descriptor):
                    raise


def _create(path: str) -> int:
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags | os.O_DIRECT, 0o640)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return os.open(path, flags & ~os.O_EXCL, 0o640)  # Linux leaves the file behind that it could not open so


def _write_through_the_cache(descriptor: int) -> bool:
    """Whether the file was written past it until now."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    if not flags & os.O_DIRECT:
        return False
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags & ~os.O_DIRECT)
    return True
