"""What happens to a C-STORE: checked, staged, committed, answered. Every outcome is a status (DESIGN, Replies)."""

import threading
import time
from datetime import UTC, datetime
from typing import Final

import structlog

from db import Store, StoreError
from dicom_node.archive import Archive, FileMeta, Incoming, content_digest
from dicom_node.peers import Refusal, RefusalBook, judge
from dicom_node.receiver.committer import Committer
from dicom_node.receiver.dataset_check import walk_dataset
from dicom_node.receiver.errors import IdentityMismatch, OutOfResources, Refused
from dicom_node.receiver.header import WANTED, IndexedHeader, is_usable_uid, read_header
from dicom_node.receiver.ledger import AssociationLedger
from dicom_node.receiver.protocol import AssociationInfo, StoreRequest
from dicom_node.receiver.rows import Sender, received_instance
from dicom_node.settings import Settings

__all__ = ["SUCCESS", "UNABLE_TO_PROCESS", "Intake", "check"]

SUCCESS = 0x0000
UNABLE_TO_PROCESS = 0xC000
"""For what no one expected; the log has the cause."""

_log = structlog.get_logger(__name__)


def check(request: StoreRequest, *, max_instance_bytes: int) -> IndexedHeader:
    """The instance is what its command says it is, whole, and can be told from others; its header.

    Raises:
        UnparsableDataset: it cannot be parsed to its end.
        IdentityMismatch: a required UID is missing, or is not what the command or the context says.
    """
    if request.sop_class_uid != request.context_sop_class_uid:
        raise IdentityMismatch("the command's SOP class is not its presentation context's")
    outline = walk_dataset(
        request.encoded,
        request.transfer_syntax_uid,
        wanted=WANTED,
        max_inflated_bytes=max_instance_bytes,
    )
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
    if header.sop_class_uid != request.sop_class_uid:
        raise IdentityMismatch("the data set's SOP class is not the command's")
    if header.sop_instance_uid != request.sop_instance_uid:
        raise IdentityMismatch("the data set's SOP Instance UID is not the command's")
    return header


class Intake:
    """The node's side of the Storage SCP: admits associations, takes instances, and knows when associations end."""

    def __init__(self, *, settings: Settings, store: Store, archive: Archive, incoming: Incoming) -> None:
        self._settings: Final = settings
        self._store: Final = store
        self._archive: Final = archive
        self._incoming: Final = incoming
        self._receiver_id: Final = incoming.folder.name
        self._committer = Committer(incoming, store.intake.record_instances)
        self._refusals = RefusalBook(store.peers.record_refusal)
        self._associations = AssociationLedger(store, self._receiver_id)
        self._stopping = threading.Event()

    def admit(self, info: AssociationInfo) -> tuple[int, int, int] | None:
        """None for a known peer, else the rejection; who was refused, and why, is recorded."""
        refusal = self._judge(info)
        if refusal is None:
            _log.info("association.accepted", association_id=info.association_id, **_who(info))
            return None
        self._refusals.note(refusal, **_who(info))
        return refusal.rejection

    def _judge(self, info: AssociationInfo) -> Refusal | None:
        if self._stopping.is_set():
            return Refusal.STOPPING
        accept_unknown = self._settings.receiver.accept_unknown_peers
        try:
            peers = () if accept_unknown else self._store.peers.list()
        except StoreError:
            return Refusal.UNAVAILABLE
        return judge(peers, **_who(info), node_ae_title=self._settings.node.ae_title, accept_unknown=accept_unknown)

    def store(self, info: AssociationInfo, request: StoreRequest) -> int:
        """Take one instance. The status is 0x0000 only when the instance is durable and indexed."""
        started = time.perf_counter()
        try:
            self._take(info, request, started)
        except Refused as refusal:
            _log.warning(
                "instance.refused",
                association_id=info.association_id,
                status=f"0x{refusal.status:04X}",
                reason=str(refusal),
                sop_instance_uid=request.sop_instance_uid,
                **_who(info),
            )
            return refusal.status
        except Exception:  # noqa: BLE001 - the SCP handler is a boundary: whatever happens, the peer gets a reply
            _log.exception("instance.failed", association_id=info.association_id, **_who(info))
            return UNABLE_TO_PROCESS
        return SUCCESS

    def _take(self, info: AssociationInfo, request: StoreRequest, started: float) -> None:
        limit = self._settings.receiver.max_instance_bytes
        self._check_resources(len(request.encoded))
        header = check(request, max_instance_bytes=limit)
        digest = content_digest(request.encoded)
        path = self._archive.relative_path(
            series_instance_uid=header.series_instance_uid,
            sop_instance_uid=header.sop_instance_uid,
            digest=digest,
        )
        meta = FileMeta(
            sop_class_uid=header.sop_class_uid,
            sop_instance_uid=header.sop_instance_uid,
            transfer_syntax_uid=request.transfer_syntax_uid,
            calling_ae_title=info.calling_ae_title,
            called_ae_title=info.called_ae_title,
        )
        self._associations.ensure_open(info)
        try:
            staged = self._incoming.stage(meta, request.encoded, path)
        except OSError as error:
            raise OutOfResources(f"the archive cannot be written ({error.strerror})") from error
        instance = received_instance(
            header,
            transfer_syntax_uid=request.transfer_syntax_uid,
            path=path.as_posix(),
            size_bytes=staged.size_bytes,
            digest=digest,
            sender=Sender(
                association_id=info.association_id,
                calling_ae_title=info.calling_ae_title,
                called_ae_title=info.called_ae_title,
                address=info.address,
            ),
            received_at=datetime.now(UTC),
        )
        recorded = self._committer.commit(staged, instance)
        _log.info(
            "instance.stored",
            association_id=info.association_id,
            kind=recorded.kind.name.lower(),
            sop_instance_uid=header.sop_instance_uid,
            series_instance_uid=header.series_instance_uid,
            bytes=staged.size_bytes,
            uid_warning=instance.uid_warning,
            milliseconds=round((time.perf_counter() - started) * 1000, 1),
        )

    def _check_resources(self, size: int) -> None:
        if self._stopping.is_set():
            raise OutOfResources("the receiver is stopping")
        watermark = self._settings.receiver.disk_watermark_bytes
        try:
            free = self._archive.free_bytes()
        except OSError as error:
            raise OutOfResources(f"the archive cannot be read ({error.strerror})") from error
        if free - size < watermark:
            raise OutOfResources(f"{free} bytes are free, the watermark is {watermark}")

    def ended(self, info: AssociationInfo) -> None:
        """An association is over."""
        self._associations.close(info)
        _log.info("association.ended", association_id=info.association_id, **_who(info))

    def refuse_new(self) -> None:
        """From now on associations are rejected and instances answered 0xA700; what is in flight is finished."""
        self._stopping.set()

    def retry_closing(self) -> None:
        """Close in the index what could not be closed when it ended."""
        self._associations.retry()

    def close(self) -> None:
        """Finish what waits for its commit."""
        self._committer.close()
        self._associations.retry()


def _who(info: AssociationInfo) -> dict[str, str]:
    return {"calling": info.calling_ae_title, "called": info.called_ae_title, "address": info.address}
