"""Room on the archive's disk: told in the log when it gets low, when it is gone, and when it is back.

The receiver looks for itself at every instance, refuses below the watermark and resumes above it; this is so that
somebody makes room before.
"""

import shutil
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path

import structlog

from dicom_node.sweep import Unit

__all__ = ["DiskSpace", "Room", "room_of"]

_LOG = structlog.stdlib.get_logger()

LOW_FACTOR = 5
"""Free space below this many watermarks is worth a warning."""


class Room(StrEnum):
    """How much there is."""

    AMPLE = "ample"
    LOW = "low"
    FULL = "full"


def room_of(free_bytes: int, watermark_bytes: int) -> Room:
    """FULL below the watermark, where instances are refused; LOW below ``LOW_FACTOR`` times of it."""
    if free_bytes < watermark_bytes:
        return Room.FULL
    return Room.LOW if free_bytes < LOW_FACTOR * watermark_bytes else Room.AMPLE


class DiskSpace:
    """The sweep that looks; each change is told once."""

    def __init__(
        self, archive_dir: Path, *, watermark_bytes: int, free_bytes: Callable[[Path], int] | None = None
    ) -> None:
        self._archive_dir = archive_dir
        self._watermark_bytes = watermark_bytes
        self._free_bytes = free_bytes or _free_bytes
        self._told = Room.AMPLE

    def looks(self) -> Iterator[Unit]:
        """One unit."""
        yield Unit(identity="archive", run=self._look)

    def _look(self) -> None:
        free_bytes = self._free_bytes(self._archive_dir)
        room = room_of(free_bytes, self._watermark_bytes)
        if room is self._told:
            return
        self._told = room
        facts = {"room": room.value, "free_bytes": free_bytes, "watermark_bytes": self._watermark_bytes}
        if room is Room.AMPLE:
            _LOG.info("disk.room_changed", **facts)
        elif room is Room.LOW:
            _LOG.warning("disk.room_changed", **facts, do="make room, or set [retention]")
        else:
            _LOG.error("disk.room_changed", **facts, do="make room: instances are refused until there is")


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free
