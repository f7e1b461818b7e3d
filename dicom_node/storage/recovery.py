"""What has a file and no row: the entries that a dead receiver left get theirs, and, on command, everything archived.

An entry in an incoming folder is there from an instance's first byte until its row is committed, so that recovery costs
what a dead receiver left and not what the archive holds.
"""

import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import structlog

from db import ReceivedInstance, Store, StoreError
from dicom_node.network.dataset_check import walk_dataset, walk_elements
from dicom_node.network.errors import UnparsableDataset
from dicom_node.storage.archive import LOCK_NAME, Archive, content_digest
from dicom_node.storage.header import WANTED, read_header
from dicom_node.storage.rows import Sender, received_instance

__all__ = ["LOOK_S", "Recovery", "Unindexed", "rebuild_index"]

_log = structlog.get_logger(__name__)

LOOK_S = 60.0
"""How often to look for dead receivers, of this machine or of another that shares the archive."""
_TRANSFER_SYNTAX, _SENDING_AE, _RECEIVING_AE = 0x00020010, 0x00020017, 0x00020018
_META = frozenset({_TRANSFER_SYNTAX, _SENDING_AE, _RECEIVING_AE})
_BATCH = 64
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unindexed:
    """A file that can have no row, and why; ``path`` is relative to the archive."""

    path: str
    cause: str


class Recovery:
    """Indexes what dead receivers acknowledged and had not indexed, closes their associations, removes their drafts."""

    def __init__(self, store: Store, archive: Archive, stop: threading.Event, *, max_instance_bytes: int) -> None:
        self._store = store
        self._archive = archive
        self._stop = stop
        self._max_instance_bytes = max_instance_bytes
        self._looking = threading.Lock()

    def look(self) -> None:
        """See to every receiver that died since; what fails is logged, and tried again at the next look."""
        with self._looking:
            try:
                for folder in self._archive.abandoned():
                    if self._stop.is_set():
                        return
                    self._recover(folder)
            except (StoreError, OSError) as error:
                _log.error("receiver.unrecovered", error=type(error).__name__)

    def _recover(self, folder: Path) -> None:
        """Rows first: an association that is closed says that all it brought is in the index."""
        entries = sorted(entry for entry in folder.iterdir() if entry.name != LOCK_NAME)
        acknowledged = [entry for entry in entries if entry.stat().st_nlink > 1]  # the others have no final name
        indexed = unread = 0
        for batch in _batches(acknowledged):
            found = list[ReceivedInstance]()
            for entry in batch:
                try:
                    found += self._read(entry)
                except OSError as error:
                    unread += 1
                    _log.error("entry.unread", receiver_id=folder.name, entry=entry.name, error=error.strerror)
            indexed += len(found) - len(_record(self._store, found))
        self._store.intake.close_associations_of(folder.name)
        if not unread:
            shutil.rmtree(folder)
        _log.info("receiver.recovered", receiver_id=folder.name, entries=len(entries), indexed=indexed, unread=unread)

    def _read(self, entry: Path) -> list[ReceivedInstance]:
        """The row of an entry; none where it is damaged, has no final name, or another file has that by now."""
        path = entry.relative_to(self._archive.root).as_posix()
        try:
            read = _read_archived(self._archive, path, max_instance_bytes=self._max_instance_bytes)
            return [read] if entry.samefile(self._archive.absolute(read.path)) else []
        except FileNotFoundError:
            return []
        except (ValueError, UnparsableDataset) as error:
            _log.error("entry.damaged", entry=path, reason=str(error))
            return []


def rebuild_index(store: Store, archive: Archive, *, max_instance_bytes: int) -> tuple[int, tuple[Unindexed, ...]]:
    """Record every archived instance that has no row: how many there were, and which files can have none.

    For when the index was lost or is older than the archive. It costs, for each series, one directory listing, one file
    read and one query; for each file that is not the newest version of an indexed instance, one file read and one query
    more. The receiver may run meanwhile: recording what is recorded already changes nothing.
    """
    found, unindexed = 0, list[Unindexed]()
    for folder in archive.series_folders():
        for missing, failed in _without_rows(store, archive, folder, max_instance_bytes):
            refused = _record(store, missing)
            found += len(missing) - len(refused)
            unindexed += [*failed, *refused]
    _log.info("index.compared", rebuilt=found, unindexed=len(unindexed))
    return found, tuple(unindexed)


def _without_rows(
    store: Store, archive: Archive, folder: Path, max_instance_bytes: int
) -> Iterator[tuple[list[ReceivedInstance], list[Unindexed]]]:
    """A series' files that have no row that says that they are there, and those that cannot be read, in batches."""
    known: set[str] | None = None
    paths = sorted(file.relative_to(archive.root).as_posix() for file in folder.glob("*.dcm"))
    for batch in _batches(paths):
        missing, failed = list[ReceivedInstance](), list[Unindexed]()
        for path in batch:
            if known is not None and path in known:
                continue
            try:
                read = _read_named(archive, path, max_instance_bytes)
            except FileNotFoundError:  # retention removed it in between
                continue
            except (OSError, ValueError, UnparsableDataset) as error:
                failed.append(_reported(path, error))
                continue
            if known is None:
                known = {str(stored.path) for stored in store.retention.files(read.series_instance_uid)}
            if path not in known:
                missing.append(read)
        yield missing, failed


def _record(store: Store, instances: Sequence[ReceivedInstance]) -> list[Unindexed]:
    """Record them together, or one at a time, so that none takes others with it; those that the database refuses.

    Raises:
        StoreError: the database cannot be reached.
    """
    try:
        store.intake.record_instances(instances)
    except StoreError as error:
        if error.transient:
            raise
        if len(instances) > 1:
            return [refused for one in instances for refused in _record(store, [one])]
        return [_reported(instances[0].path, error)]
    return []


def _reported(path: str, error: Exception) -> Unindexed:
    cause = (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error)
    _log.error("instance.unindexed", path=path, error=type(error).__name__)
    return Unindexed(path=path, cause=cause)


def _batches(items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    return (items[start : start + _BATCH] for start in range(0, len(items), _BATCH))


def _read_named(archive: Archive, path: str, max_instance_bytes: int) -> ReceivedInstance:
    """As `_read_archived`; a ValueError also for a file whose name tells of other bytes."""
    read = _read_archived(archive, path, max_instance_bytes=max_instance_bytes)
    if read.path != path:
        raise ValueError("its bytes are not those that its name tells of")
    return read


def _read_archived(archive: Archive, path: str, *, max_instance_bytes: int) -> ReceivedInstance:
    """The index row of an archived file, from nothing but the file. Whose association it came by is not in it.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not the archive's.
        UnparsableDataset: it is damaged.
    """
    with archive.opened(path) as file:
        meta = walk_elements(file.meta, explicit=True, wanted=_META)
        syntax = meta.text(_TRANSFER_SYNTAX)
        header = read_header(walk_dataset(file.encoded, syntax, wanted=WANTED, max_inflated_bytes=max_instance_bytes))
        digest = content_digest(file.encoded)
        return received_instance(
            header,
            transfer_syntax_uid=syntax,
            path=archive.relative_path(
                series_instance_uid=header.series_instance_uid,
                sop_instance_uid=header.sop_instance_uid,
                digest=digest,
            ),
            size_bytes=file.size_bytes,
            digest=digest,
            sender=Sender(
                association_id=None,
                calling_ae_title=meta.text(_SENDING_AE),
                called_ae_title=meta.text(_RECEIVING_AE),
                address="",
            ),
            received_at=datetime.fromtimestamp(file.modified_at, UTC),
        )
