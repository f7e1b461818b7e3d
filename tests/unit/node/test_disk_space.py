"""Room on the disk is told when it changes: low before instances are refused, and when it is back."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from dicom_node.storage.disk_space import DiskSpace, Room, room_of

WATERMARK = 1000


@pytest.mark.parametrize(
    ("free_bytes", "room"),
    [(999, Room.FULL), (1000, Room.LOW), (4999, Room.LOW), (5000, Room.AMPLE)],
)
def test_room_by_the_watermark(free_bytes: int, room: Room) -> None:
    """FULL is where the receiver refuses, LOW is five times as much."""
    assert room_of(free_bytes, WATERMARK) is room


def test_each_change_is_told_once() -> None:
    """Ample at first says nothing; low, full, and ample again are told, by their severity."""
    free = [9000, 3000, 2500, 500, 400, 9000]
    looks = iter(free)
    space = DiskSpace(Path(), watermark_bytes=WATERMARK, free_bytes=lambda _folder: next(looks))
    with capture_logs() as told:
        for _ in free:
            for unit in space.looks():
                unit.run()
    assert [(entry["room"], entry["log_level"]) for entry in told] == [
        ("low", "warning"),
        ("full", "error"),
        ("ample", "info"),
    ]


def test_the_archives_disk_is_looked_at(tmp_path: Path) -> None:
    """No disk has an exbibyte free: full."""
    with capture_logs() as told:
        for unit in DiskSpace(tmp_path, watermark_bytes=1 << 60).looks():
            unit.run()
    assert [entry["room"] for entry in told] == ["full"]
