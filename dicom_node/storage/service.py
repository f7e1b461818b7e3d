"""Who is admitted, and what is known of associations: the node's side of the Storage SCP."""

import threading
from typing import Final

import structlog

from db import Store, StoreError
from dicom_node.network.protocol import AssociationInfo, Reception, StoreCommand
from dicom_node.peers.admission import Refusal, RefusalBook, judge
from dicom_node.settings import Receiver
from dicom_node.storage.archive import Archive
from dicom_node.storage.associations import AssociationRecords
from dicom_node.storage.incoming import Incoming
from dicom_node.storage.indexer import CommitLock, Indexer
from dicom_node.storage.publisher import Publisher
from dicom_node.storage.reception import InstanceReception, ReceptionContext

__all__ = ["StorageService"]

_log = structlog.get_logger(__name__)

SETTLE_S = 5.0
"""Time that the end of an association waits for the index; a database that is away must not hold it longer."""


class StorageService:
    """Admits associations, takes instances, and knows when associations end."""

    def __init__(
        self,
        *,
        settings: Receiver,
        node_ae_title: str,
        store: Store,
        archive: Archive,
        receiver_id: str,
        index_is_shared: bool = False,
    ) -> None:
        """Make an incoming folder of this name; with a shared index, processes take turns in writing it.

        Raises:
            OSError: the archive cannot be written.
        """
        self._settings: Final = settings
        self._node_ae_title: Final = node_ae_title
        self._store: Final = store
        self._incoming = Incoming(archive, receiver_id)
        self._commit_lock = CommitLock(archive.root / "incoming" / ".commit.lock") if index_is_shared else None
        self._publisher = Publisher(self._incoming)
        self._refusals = RefusalBook(store.peers.record_refusal)
        self._associations = AssociationRecords(store, receiver_id)
        self._indexer = Indexer(
            store.intake.record_instances, self._incoming.forget, self._associations, lock=self._commit_lock
        )
        self._stopping = threading.Event()
        self._context = ReceptionContext(
            archive=archive,
            incoming=self._incoming,
            publisher=self._publisher,
            indexer=self._indexer,
            stopping=self._stopping,
            disk_watermark_bytes=settings.disk_watermark_bytes,
            max_instance_bytes=settings.max_instance_bytes,
        )

    def admit(self, info: AssociationInfo) -> tuple[int, int, int] | None:
        """None for a known peer, else the rejection; who was refused, and why, is recorded."""
        refusal = self._judge(info)
        if refusal is None:
            _log.info("association.accepted", association_id=info.association_id, **info.titles)
            return None
        self._refusals.note(refusal.words, **info.titles)
        return refusal.rejection

    def refused(self, reason: str, *, address: str, calling: str = "", called: str = "") -> None:
        """The network turned somebody away: list it with those that were not admitted."""
        self._refusals.note(reason, address=address, calling=calling, called=called)

    def _judge(self, info: AssociationInfo) -> Refusal | None:
        if self._stopping.is_set():
            return Refusal.STOPPING
        accept_unknown = self._settings.accept_unknown_peers
        try:
            peers = () if accept_unknown else self._store.peers.list()
        except StoreError:
            return Refusal.UNAVAILABLE
        return judge(peers, **info.titles, node_ae_title=self._node_ae_title, accept_unknown=accept_unknown)

    def begin(self, info: AssociationInfo, command: StoreCommand) -> Reception:
        """An instance is about to come."""
        return InstanceReception(self._context, info, command)

    def settle(self, info: AssociationInfo) -> None:
        """Before the association is released: what it brought is in the index."""
        self._indexer.settle(info.association_id, SETTLE_S)

    def ended(self, info: AssociationInfo, *, released: bool) -> None:
        """An association is over."""
        self._indexer.settle(info.association_id, SETTLE_S)
        self._associations.close(info, released=released)
        _log.info("association.ended", association_id=info.association_id, released=released, **info.titles)

    def refuse_new(self) -> None:
        """From now on associations are rejected and instances answered 0xA700; what is in flight is finished."""
        self._stopping.set()

    def retry_closing(self) -> None:
        """Close in the index what could not be closed when it ended."""
        self._associations.retry()

    def close(self) -> None:
        """Finish what waits."""
        self._publisher.close()
        self._indexer.close(SETTLE_S)
        self._associations.retry()
        self._incoming.close()
        if self._commit_lock is not None:
            self._commit_lock.close()
