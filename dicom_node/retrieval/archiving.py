"""What C-GET brings goes the receiver's way: checked, durable, indexed, and only then confirmed."""

import secrets
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from db import Store
from dicom_node.network.protocol import AssociationInfo, StoreCommand
from dicom_node.peers.remote import Remote
from dicom_node.settings import Receiver
from dicom_node.storage.archive import Archive
from dicom_node.storage.service import StorageService

__all__ = ["Taker", "archiving"]

Taker = Callable[[Any], int]
"""Takes the event of a C-STORE; its status is 0x0000 when the instance is durable and indexed."""


@contextmanager
def archiving(settings: Receiver, node_ae_title: str, store: Store, archive: Archive, peer: Remote) -> Generator[Taker]:
    """A handler of C-STORE that archives as the receiver does, for the length of one association.

    Raises:
        OSError: the archive cannot be written.
    """
    archive.root.mkdir(parents=True, exist_ok=True)
    storage = StorageService(
        settings=settings,
        node_ae_title=node_ae_title,
        store=store,
        archive=archive,
        receiver_id=f"fetch-{secrets.token_hex(8)}",
    )
    info = AssociationInfo(
        association_id=uuid.uuid4().hex,
        calling_ae_title=peer.ae_title,
        called_ae_title=peer.calling_ae_title,
        address=peer.host,
    )

    def take(event: Any) -> int:
        reception = storage.begin(
            info,
            StoreCommand(
                sop_class_uid=str(event.request.AffectedSOPClassUID or ""),
                sop_instance_uid=str(event.request.AffectedSOPInstanceUID or ""),
                context_sop_class_uid=str(event.context.abstract_syntax),
                transfer_syntax_uid=str(event.context.transfer_syntax),
            ),
        )
        reception.write([memoryview(event.request.DataSet.getvalue() if event.request.DataSet else b"")])
        status = reception.finish()
        reception.conclude()
        return status

    released = False
    try:
        yield take
        released = True
    finally:
        storage.ended(info, released=released)
        storage.close()
