"""What an analysis will need in memory, held against what there is, before a pixel is decoded."""

import os
from collections.abc import Sequence
from pathlib import Path

from analysis.errors import AnalysisError, OutOfMemory
from analysis.series.series import InstanceHeader

__all__ = ["TooLargeForMemory", "check_memory"]

_BYTES_A_VOXEL = 5
"""The volume, the labels of lungs, lobes and lesions, and the mask."""

_BYTES_A_DECODED_PIXEL = 12
"""A decoder's output, its copy in HU and what is between them."""

_DECODED_AT_ONCE = 2
_BESIDE = 2**30
"""The networks, and the working grid of the lungs."""

_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_MEMORY = Path("/proc/meminfo")


class TooLargeForMemory(AnalysisError):
    """The series needs more memory than this machine has."""


def check_memory(headers: Sequence[InstanceHeader]) -> None:
    """Refuse a series whose rows, columns and frames ask for more memory than there is.

    Raises:
        TooLargeForMemory: the machine never has so much.
        OutOfMemory: it has, but not now.
    """
    needed = needed_bytes(headers)
    total, free = total_bytes(), _meminfo("MemAvailable")
    if total is not None and needed > total:
        raise TooLargeForMemory(f"{_told(headers)} need {_gib(needed)} of memory; there are {_gib(total)}.")
    if free is not None and needed > free:
        raise OutOfMemory(f"{_told(headers)} need {_gib(needed)}; {_gib(free)} are free.")


def needed_bytes(headers: Sequence[InstanceHeader]) -> int:
    """Bytes that an analysis of these instances needs at most, by what their headers announce."""
    planes = [(header.rows or 0) * (header.columns or 0) * header.number_of_frames for header in headers]
    decoded = sorted(planes)[-_DECODED_AT_ONCE:]
    return _BESIDE + _BYTES_A_VOXEL * sum(planes) + _BYTES_A_DECODED_PIXEL * sum(decoded)


def total_bytes() -> int | None:
    """The memory of this machine, or of the control group of this process where that is less."""
    limits = [limit for path in _CGROUP_LIMITS if (limit := _limit(path)) is not None]
    physical = _meminfo("MemTotal") or _physical()
    known = [*limits, *([physical] if physical else [])]
    return min(known) if known else None


def _limit(path: Path) -> int | None:
    try:
        content = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(content) if content.isdigit() else None


def _meminfo(name: str) -> int | None:
    """A line of /proc/meminfo, in bytes; None where there is no such file."""
    try:
        lines = _MEMORY.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)


def _physical() -> int | None:
    names = os.sysconf_names if hasattr(os, "sysconf_names") else {}
    if not {"SC_PAGE_SIZE", "SC_PHYS_PAGES"} <= set(names):
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _told(headers: Sequence[InstanceHeader]) -> str:
    largest = max(headers, key=lambda header: (header.rows or 0) * (header.columns or 0))
    frames = sum(header.number_of_frames for header in headers)
    return f"{frames} frames of up to {largest.rows} x {largest.columns}"


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
