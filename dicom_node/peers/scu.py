"""An association with a node that is asked for something."""

import ssl
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from dicom_node.peers.errors import Refused, Unreachable

__all__ = ["RemotePeer", "connected"]

TIMEOUT_S = 60.0
"""For the connection, the association and each answer: a PACS may have to load a study from tape first."""
MAX_PDU_BYTES = 131_072


@dataclass(frozen=True, slots=True, kw_only=True)
class RemotePeer:
    """A node that holds images, and the AE title it is called with; with a context, by TLS."""

    ae_title: str
    host: str
    port: int
    calling_ae_title: str
    tls: ssl.SSLContext | None = None
    timeout_s: float = TIMEOUT_S

    def __str__(self) -> str:
        return f"{self.ae_title} at {self.host}:{self.port}"


@contextmanager
def connected(
    peer: RemotePeer,
    contexts: Sequence[PresentationContext],
    *,
    needed: str,
    roles: Sequence[Any] = (),
    handlers: Sequence[Any] = (),
) -> Generator[Association]:
    """An association that is released at the end; ``needed`` is the abstract syntax without which it is no use.

    Raises:
        Unreachable: nobody answers, or the association was lost.
        Refused: the association is rejected, or the peer does not offer the service.
    """
    entity = AE(ae_title=peer.calling_ae_title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = peer.timeout_s
    association = entity.associate(
        peer.host,
        peer.port,
        contexts=list(contexts),
        ae_title=peer.ae_title,
        max_pdu=MAX_PDU_BYTES,
        ext_neg=list(roles),
        evt_handlers=list(handlers),
        tls_args=None if peer.tls is None else (peer.tls, peer.host),
    )
    if not association.is_established:
        raise _not_established(association, peer)
    try:
        if needed not in {str(context.abstract_syntax) for context in association.accepted_contexts}:
            raise Refused(f"{peer} does not offer {needed}.")
        yield association
    finally:
        if association.is_established:
            association.release()


def _not_established(association: Association, peer: RemotePeer) -> Unreachable | Refused:
    if association.is_rejected:
        answer = association.acceptor.primitive
        reason = f": {answer.reason_str}" if answer is not None else ""
        return Refused(f"{peer} rejected the association{reason}.")
    if association.rejected_contexts:
        return Refused(f"{peer} offers none of the services asked for.")
    return Unreachable(f"{peer} does not answer as a DICOM node.")
