"""Inflate a deflated data set within bounds, to a file and not to memory."""

import mmap
import tempfile
import zlib
from collections.abc import Generator
from contextlib import contextmanager

from dicom_node.network.errors import UnparsableDataset

__all__ = ["inflated"]

_INFLATE_CHUNK = 1 << 20
_MAX_INFLATED_BYTES = 512 << 20
"""Of a deflated data set, which every later reader inflates to memory: a thousand slices, and no bomb of gigabytes."""


@contextmanager
def inflated(encoded: bytes | memoryview, limit: int, scratch: str | None) -> Generator[memoryview]:
    """The deflated data set's bytes (PS3.5 A.5), whole and no more than the limit, mapped."""
    limit = min(limit, _MAX_INFLATED_BYTES)
    with tempfile.TemporaryFile(dir=scratch, buffering=0) as file:
        size = 0
        for part in _inflate(encoded):
            size += len(part)
            if size > limit:
                raise UnparsableDataset(f"it inflates beyond {limit} bytes")
            file.write(part)
        if not size:
            raise UnparsableDataset("it is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
            yield view


def _inflate(encoded: bytes | memoryview) -> Generator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    position = 0
    pending = b""
    try:
        while not inflater.eof:
            if not pending:
                pending = bytes(encoded[position : position + _INFLATE_CHUNK])  # the stream may end in an exception
                position += len(pending)
            part = inflater.decompress(pending, _INFLATE_CHUNK)
            if not part and not pending and not inflater.eof:
                raise UnparsableDataset("its deflated stream breaks off")
            pending = inflater.unconsumed_tail
            yield part
    except zlib.error as error:
        raise UnparsableDataset("its deflated stream is damaged") from error
    if inflater.unused_data not in {b"", b"\0"} or position < len(encoded):
        raise UnparsableDataset("bytes follow its deflated stream")
