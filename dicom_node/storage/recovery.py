"""After a crash: end what a dead receiver left open, remove what it never acknowledged, and index what lacks a row."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import structlog

from db import ReceivedInstance, Store
from dicom_node.network.dataset_check import walk_dataset, walk_elements
from dicom_node.network.errors import UnparsableDataset
from dicom_node.storage.archive import Archive, content_digest
from dicom_node.storage.header import WANTED, read_header
from dicom_node.storage.rows import Sender, received_instance

__all__ = ["end_dead_receivers", "read_archived", "rebuild_index"]

_log = structlog.get_logger(__name__)

_TRANSFER_SYNTAX, _SENDING_AE, _RECEIVING_AE = 0x00020010, 0x00020017, 0x00020018
_META = frozenset({_TRANSFER_SYNTAX, _SENDING_AE, _RECEIVING_AE})
_BATCH = 64


def end_dead_receivers(store: Store, archive: Archive) -> None:
    """Close the associations of receivers that died, and remove their temporary files.

    A receiver is dead when nobody holds its lock; one that runs beside this one is left alone.
    """
    with archive.incoming_locked():
        for abandoned in archive.abandoned():
            store.intake.close_associations_of(abandoned.receiver_id)
            archive.remove_abandoned(abandoned)
            _log.info(
                "receiver.recovered", receiver_id=abandoned.receiver_id, temporary_files=abandoned.temporary_files
            )


def rebuild_index(
    store: Store, archive: Archive, *, stop: threading.Event, max_instance_bytes: int, since: float = 0.0
) -> int:
    """Record every archived instance that has no row; return how many there were.

    ``since`` leaves out series that got no file after that time (seconds since 1970).

    It costs, for each series, one directory listing, one file read and one query; for each file that is not the
    newest version of an indexed instance, one file read and one query more. It runs beside the receiver: recording
    what is recorded already changes nothing.
    """
    found = 0
    for folder in archive.series_folders():
        if stop.is_set():
            break
        if since and not _changed_since(folder, since):
            continue
        found += _rebuild_series(store, archive, folder, max_instance_bytes)
    _log.info("index.compared", rebuilt=found)
    return found


def _changed_since(folder: Path, since: float) -> bool:
    try:
        return folder.stat().st_mtime >= since
    except FileNotFoundError:
        return False


def _rebuild_series(store: Store, archive: Archive, folder: Path, max_instance_bytes: int) -> int:
    paths = sorted(file.relative_to(archive.root).as_posix() for file in folder.glob("*.dcm"))
    known: set[str] | None = None
    found = 0
    for start in range(0, len(paths), _BATCH):
        missing: list[ReceivedInstance] = []
        for path in paths[start : start + _BATCH]:
            if known is not None and path in known:
                continue
            instance = _read_or_report(archive, path, max_instance_bytes)
            if instance is None:
                continue
            if known is None:
                known = {str(stored.path) for stored in store.intake.series_paths(instance.series_instance_uid)}
            versions = () if path in known else store.intake.find_versions(instance.sop_instance_uid)
            if path not in known and path not in {str(version.path) for version in versions}:
                missing.append(instance)
        if missing:
            store.intake.record_instances(missing)
            found += len(missing)
            _log.info("index.rebuilt", series_instance_uid=missing[0].series_instance_uid, instances=len(missing))
    return found


def _read_or_report(archive: Archive, path: str, max_instance_bytes: int) -> ReceivedInstance | None:
    try:
        return read_archived(archive, path, max_instance_bytes=max_instance_bytes)
    except FileNotFoundError:  # retention removed it in between
        return None
    except (OSError, ValueError, UnparsableDataset) as error:
        _log.error("index.unreadable", path=path, error=type(error).__name__)
        return None


def read_archived(archive: Archive, path: str, *, max_instance_bytes: int) -> ReceivedInstance:
    """The index row of an archived file, from nothing but the file. Whose association it came by is not in it.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not the archive's.
        UnparsableDataset: it is damaged.
    """
    file = archive.read(path)
    meta = walk_elements(file.meta, explicit=True, wanted=_META)
    syntax = meta.text(_TRANSFER_SYNTAX)
    outline = walk_dataset(file.encoded, syntax, wanted=WANTED, max_inflated_bytes=max_instance_bytes)
    header = read_header(outline)
    return received_instance(
        header,
        transfer_syntax_uid=syntax,
        path=path,
        size_bytes=file.size_bytes,
        digest=content_digest(file.encoded),
        sender=Sender(
            association_id=None,
            calling_ae_title=meta.text(_SENDING_AE),
            called_ae_title=meta.text(_RECEIVING_AE),
            address="",
        ),
        received_at=datetime.fromtimestamp(file.modified_at, UTC),
    )
