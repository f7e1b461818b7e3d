"""Does the archive hold what the index says, byte for byte? Every row against its file, every file against its row.

Cost: each archived byte is read once and goes through SHA-256; each series costs one query and one directory listing.
Memory is bounded by the number of series, not of instances or their size.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

import structlog

from db import Store, StoredInstance
from dicom_node.storage.archive import Archive

__all__ = ["Fault", "FaultKind", "Progress", "examine", "verify", "verify_sample"]

_LOG = structlog.stdlib.get_logger()

SETTLING_S = 60.0
"""A file this young may be an instance on its way to the index."""


class FaultKind(StrEnum):
    """In which way file and row do not agree."""

    MISSING = "missing"
    CHANGED = "changed"
    UNREADABLE = "unreadable"
    EXTRA = "extra"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One file that is not as it should be; ``path`` is relative to the archive. No UID is known of an extra file."""

    kind: FaultKind
    path: str
    detail: str
    series_instance_uid: str | None = None
    sop_instance_uid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a verification has come."""

    series: int
    of_series: int
    files: int
    bytes_read: int


def verify(
    store: Store, archive: Archive, *, series: Iterable[str] | None = None, on_progress: Callable[[Progress], None]
) -> Iterator[Fault]:
    """Every fault of the archive (of the given series alone, if any are given), as it is found.

    The node may run meanwhile: what retention removes, and what arrives, during the look is no fault.
    """
    uids = [one.series_instance_uid for one in store.series.list()] if series is None else list(series)
    folders = set[Path]()
    files = read = 0
    for number, uid in enumerate(uids, start=1):
        folder = archive.absolute(_folder(archive, uid))
        folders.add(folder)
        there = _listed(archive, folder)
        rows = store.retention.files(uid)
        for row in rows:
            fault = examine(archive, row)
            if fault is not None and row.path in {one.path for one in store.retention.files(uid)}:
                yield fault
            files, read = files + 1, read + row.size_bytes
            on_progress(Progress(series=number, of_series=len(uids), files=files, bytes_read=read))
        yield from _extra(archive, there - {row.path for row in rows})
        on_progress(Progress(series=number, of_series=len(uids), files=files, bytes_read=read))
    if series is None:
        for folder in archive.series_folders():
            if folder not in folders:
                yield from _extra(archive, _listed(archive, folder))


def verify_sample(store: Store, archive: Archive, count: int) -> tuple[Fault, ...]:
    """The faults of so many instances of the archive, chosen by chance: a disk that rots shows before it is asked.

    Each fault is logged. What retention removes meanwhile is none.
    """
    found: list[Fault] = []
    for row in store.retention.sample(count):
        fault = examine(archive, row)
        if fault is None or row.path not in {one.path for one in store.retention.files(row.series_instance_uid)}:
            continue
        found.append(fault)
        _LOG.error(
            "instance.damaged",
            fault=fault.kind,
            path=fault.path,
            detail=fault.detail,
            series_instance_uid=fault.series_instance_uid,
            sop_instance_uid=fault.sop_instance_uid,
        )
    _LOG.info("archive.sampled", damaged=len(found))
    return tuple(found)


def examine(archive: Archive, row: StoredInstance) -> Fault | None:
    """What is wrong with the file of a row; None where every byte of its data set is as it was received."""
    kind, detail = FaultKind.UNREADABLE, ""
    try:
        digest = archive.digest(row.path)
    except FileNotFoundError:
        kind, detail = FaultKind.MISSING, "there is no such file"
    except OSError as error:
        detail = error.strerror or type(error).__name__
    except ValueError as error:
        kind, detail = FaultKind.CHANGED, str(error)
    else:
        if digest == row.sha256:
            return None
        kind, detail = FaultKind.CHANGED, "other bytes than were received"
    return Fault(
        kind=kind,
        path=row.path,
        detail=detail,
        series_instance_uid=row.series_instance_uid,
        sop_instance_uid=row.sop_instance_uid,
    )


def _folder(archive: Archive, series_instance_uid: str) -> PurePosixPath:
    named = archive.relative_path(series_instance_uid=series_instance_uid, sop_instance_uid="", digest="")
    return PurePosixPath(named).parent


def _listed(archive: Archive, folder: Path) -> set[str]:
    """The settled files of a series' folder, relative to the archive."""
    if not folder.is_dir():
        return set()
    settled = time.time() - SETTLING_S
    return {
        file.relative_to(archive.root).as_posix()
        for file in folder.iterdir()
        if file.is_file() and file.stat().st_mtime < settled
    }


def _extra(archive: Archive, paths: set[str]) -> Iterator[Fault]:
    for path in sorted(paths):
        if archive.absolute(path).exists():
            yield Fault(kind=FaultKind.EXTRA, path=path, detail="no row of the index names it")
