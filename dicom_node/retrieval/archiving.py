"""What C-GET brings, or an import reads, goes the receiver's way: checked, durable, indexed, only then confirmed."""

import secrets
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import count

from db import Store
from dicom_node.network.protocol import AssociationInfo, StoreCommand
from dicom_node.peers.remote import Remote
from dicom_node.settings import Receiver
from dicom_node.storage.archive import Archive
from dicom_node.storage.service import StorageService

__all__ = ["Taker", "archiving"]

Taker = Callable[[StoreCommand, bytes], int]
"""Takes an instance's data set; its status is 0x0000 when it is durable, and is or will be indexed."""
_SETTLED_EVERY = 256


@contextmanager
def archiving(settings: Receiver, node_ae_title: str, store: Store, archive: Archive, peer: Remote) -> Generator[Taker]:
    """What archives as the receiver does, for the length of one association with ``peer``.

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

    taken = count(1)

    def take(command: StoreCommand, encoded: bytes) -> int:
        if next(taken) % _SETTLED_EVERY == 0:
            storage.settle(info)  # whoever reads files is faster than the index
        reception = storage.begin(info, command)
        reception.write([memoryview(encoded)])
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
