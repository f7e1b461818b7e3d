"""What happens to a C-STORE: streamed, checked, made durable, answered. ARCHITECTURE lists the replies."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog

from dicom_node.network.dataset_check import DatasetOutline, walk_dataset, walk_head
from dicom_node.network.errors import IdentityMismatch, InstanceTooLarge, OutOfResources, Refused, UnparsableDataset
from dicom_node.network.protocol import AssociationInfo, StoreCommand
from dicom_node.network.status import CANNOT_UNDERSTAND, SUCCESS
from dicom_node.storage.archive import Archive, FileMeta
from dicom_node.storage.header import WANTED, IndexedHeader, is_usable_uid, read_header
from dicom_node.storage.incoming import Draft, Incoming, StagedFile
from dicom_node.storage.indexer import Indexer
from dicom_node.storage.publisher import Publisher
from dicom_node.storage.rows import Sender, received_instance

__all__ = ["InstanceReception", "ReceptionContext", "checked_header"]

_LOOK_AT_THE_DISK_EVERY = 64 << 20

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceptionContext:
    """What every instance is taken in with."""

    archive: Archive
    incoming: Incoming
    publisher: Publisher
    indexer: Indexer
    stopping: threading.Event
    disk_watermark_bytes: int
    max_instance_bytes: int


def checked_header(outline: DatasetOutline, command: StoreCommand) -> IndexedHeader:
    """The header of an instance that is what its command says it is, and can be told from others.

    Raises:
        IdentityMismatch: a required UID is missing, or is not what the command says.
    """
    header = read_header(outline)
    for name, uid in (
        ("SOP Class UID", header.sop_class_uid),
        ("SOP Instance UID", header.sop_instance_uid),
        ("Study Instance UID", header.study_instance_uid),
        ("Series Instance UID", header.series_instance_uid),
    ):
        if not uid:
            raise IdentityMismatch(f"{name} is missing")
        if not is_usable_uid(uid):
            raise IdentityMismatch(f"{name} is longer than 64 characters or not printable")
    if header.sop_class_uid != command.sop_class_uid:
        raise IdentityMismatch("the data set's SOP class is not the command's")
    if header.sop_instance_uid != command.sop_instance_uid:
        raise IdentityMismatch("the data set's SOP Instance UID is not the command's")
    return header


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """An instance that is durable: its header, its file, and how long it took from the command to the last sync."""

    header: IndexedHeader
    file: StagedFile
    digest: str
    at: datetime
    milliseconds: float


class InstanceReception:
    """One instance on its way in. Once it is refused its bytes are counted and forgotten, up to the reply."""

    def __init__(self, context: ReceptionContext, info: AssociationInfo, command: StoreCommand) -> None:
        self._context: Final = context
        self._info: Final = info
        self._command: Final = command
        self._started = time.perf_counter()
        self._bytes = 0
        self._look_again_at = _LOOK_AT_THE_DISK_EVERY
        self._draft: Draft | None = None
        self._stored: _Stored | None = None
        self._refusal: Refused | None = None
        self._failed = False
        self._guard(self._begin)

    def write(self, parts: Sequence[memoryview]) -> None:
        """Append to the file.

        Raises:
            InstanceTooLarge: more than one instance may have.
        """
        self._bytes += sum(map(len, parts))
        if self._bytes > self._context.max_instance_bytes:
            raise InstanceTooLarge(f"({self._context.max_instance_bytes} bytes)")
        if self._draft is not None:
            self._guard(lambda: self._append(parts))

    def finish(self) -> int:
        """Check, publish, and tell the status: 0x0000 only when the instance is durable."""
        if not self._is_over:
            self._guard(self._take)
        if self._refusal is not None:
            return self._refusal.status
        return CANNOT_UNDERSTAND if self._failed else SUCCESS  # what no one expected: the log has the cause

    def conclude(self) -> None:
        """Have the instance indexed if it is durable, and log what became of it."""
        if self._stored is not None:
            self._index(self._stored)
        elif self._refusal is not None:
            _log.warning(
                "instance.refused",
                association_id=self._info.association_id,
                status=f"0x{self._refusal.status:04X}",
                reason=str(self._refusal),
                sop_instance_uid=self._command.sop_instance_uid[:64],
                **self._info.titles,
            )

    def abandon(self) -> None:
        """Leave nothing of it."""
        if self._draft is not None:
            self._draft.discard()
            self._draft = None

    @property
    def _is_over(self) -> bool:
        return self._failed or self._refusal is not None

    def _guard(self, step: Callable[[], None]) -> None:
        """Take a step; an exception ends the instance, and decides its status."""
        try:
            step()
        except Refused as refusal:
            self._refusal = refusal
        except OSError as error:
            self._refusal = OutOfResources(f"the archive cannot be used ({error.strerror})")
        except Exception:  # noqa: BLE001 - the SCP handler is a boundary: whatever happens, the peer gets a reply
            self._failed = True
            _log.exception("instance.failed", association_id=self._info.association_id, **self._info.titles)
        if self._is_over:
            self.abandon()

    def _begin(self) -> None:
        self._check_resources()
        self._context.indexer.check()
        command = self._command
        if command.sop_class_uid != command.context_sop_class_uid:
            raise IdentityMismatch("the command's SOP class is not its presentation context's")
        self._draft = self._context.incoming.draft(
            FileMeta(
                sop_class_uid=command.sop_class_uid,
                sop_instance_uid=command.sop_instance_uid,
                transfer_syntax_uid=command.transfer_syntax_uid,
                calling_ae_title=self._info.calling_ae_title,
                called_ae_title=self._info.called_ae_title,
            )
        )

    def _append(self, parts: Sequence[memoryview]) -> None:
        assert self._draft is not None  # noqa: S101 - asked for by the caller
        if self._bytes >= self._look_again_at:
            self._look_again_at += _LOOK_AT_THE_DISK_EVERY
            self._check_resources()
        self._draft.write(parts)

    def _take(self) -> None:
        draft = self._draft
        if draft is None or not draft.encoded_bytes:
            raise UnparsableDataset("it is empty")
        self._check_resources()
        header = checked_header(self._walk(draft), self._command)
        path = self._context.archive.relative_path(
            series_instance_uid=header.series_instance_uid,
            sop_instance_uid=header.sop_instance_uid,
            digest=draft.digest,
        )
        staged = draft.finish(path)
        self._draft = None  # what is staged is the publisher's
        self._context.publisher.publish(staged)
        self._stored = _Stored(
            header=header,
            file=staged,
            digest=draft.digest,
            at=datetime.now(UTC),
            milliseconds=round((time.perf_counter() - self._started) * 1000, 1),
        )

    def _walk(self, draft: Draft) -> DatasetOutline:
        syntax = self._command.transfer_syntax_uid
        outline = walk_head(draft.head, draft.encoded_bytes, syntax, wanted=WANTED)
        if outline is not None:
            return outline
        with draft.encoded() as encoded:
            return walk_dataset(
                encoded,
                syntax,
                wanted=WANTED,
                max_inflated_bytes=self._context.max_instance_bytes,
                scratch=draft.folder,
            )

    def _index(self, stored: "_Stored") -> None:
        header = stored.header
        instance = received_instance(
            header,
            transfer_syntax_uid=self._command.transfer_syntax_uid,
            path=stored.file.path,
            size_bytes=stored.file.size_bytes,
            digest=stored.digest,
            sender=Sender(
                association_id=self._info.association_id,
                calling_ae_title=self._info.calling_ae_title,
                called_ae_title=self._info.called_ae_title,
                address=self._info.address,
            ),
            received_at=stored.at,
        )
        self._context.indexer.add(self._info, instance, stored.file.entry)
        log = _log.info if instance.uid_warning or header.dropped else _log.debug  # what is usual is told by the index
        log(
            "instance.stored",
            association_id=self._info.association_id,
            sop_instance_uid=header.sop_instance_uid,
            series_instance_uid=header.series_instance_uid,
            bytes=stored.file.size_bytes,
            uid_warning=instance.uid_warning,
            dropped=header.dropped,
            milliseconds=stored.milliseconds,
        )

    def _check_resources(self) -> None:
        if self._context.stopping.is_set() and not self._bytes:
            raise OutOfResources("the receiver is stopping")
        free = self._context.archive.free_bytes()
        if free < self._context.disk_watermark_bytes:
            raise OutOfResources(f"{free} bytes are free, the watermark is {self._context.disk_watermark_bytes}")
