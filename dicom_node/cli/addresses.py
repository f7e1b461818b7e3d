"""Where a peer is found: as the command line says, else as the node knows it; called as the node itself calls it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicom_node.cli.failures import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from db import Peer
    from dicom_node.cli.invocation import Invocation
    from dicom_node.peers.remote import Remote


def find_remote(
    invocation: Invocation,
    ae_title: str | None,
    host: str | None,
    port: int | None,
    *,
    calling_ae_title: str | None = None,
) -> Remote:
    """The peer of this AE title, or this node itself without one; by TLS exactly where the node would use it.

    Raises:
        UsageError: host or port is not known.
        PeerError: it is called by TLS, and the certificates cannot be used.
    """
    from dicom_node.peers.addresses import AddressBook
    from dicom_node.peers.errors import UnknownAddress

    settings = invocation.settings()

    def allowed() -> Sequence[Peer]:
        with invocation.store() as store:
            return store.peers.list()

    book = AddressBook(
        node=settings.node,
        receiver=settings.receiver,
        destinations=settings.destinations,
        tls=settings.tls,
        peers=allowed,
    )
    title = ae_title or settings.node.ae_title
    try:
        return book.remote(title, host=host, port=port, calling_ae_title=calling_ae_title)
    except UnknownAddress as error:
        raise UsageError(
            f"where {title} listens is not known: give --host and --port, or allow it with both"
        ) from error
