"""The one way to call a peer: an association whose replies arrive, within limits, and C-ECHO on it."""

import socket
import time
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext, build_context

from dicom_node.network.contexts import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    UNCOMPRESSED,
    VERIFICATION_SOP_CLASS,
)
from dicom_node.peers.errors import NoContext, Refused, Rejected, Unreachable
from dicom_node.peers.reactor import hold, is_open, let_go
from dicom_node.peers.remote import MAX_PDU_BYTES, Remote
from dicom_node.peers.transport import CallingEntity, connect

__all__ = ["MAX_MESSAGE_BYTES", "Echo", "associate", "echo", "requests", "status_of"]

MAX_MESSAGE_BYTES = 4 << 20
"""Longest message that is taken: a reply, or an answer to a query, is far shorter."""
LEAST_PDU_BYTES = 1024
"""Who takes shorter PDUs only would have an instance cut into millions of pieces."""
RELEASE_TIMEOUT_S = 10.0

_REJECTION_ADVICE = {  # (source, diagnostic) of an A-ASSOCIATE-RJ, PS3.8 table 9-21
    (1, 3): (
        "its administrator can let this node in; a Lungsentry node does by "
        "`lungsentry peers allow {remote.calling_ae_title} --address CIDR` with this machine's address "
        "(`lungsentry peers refused` there lists it)"
    ),
    (1, 7): "{remote.ae_title} is not the AE title it answers to",
    (3, 1): "it is busy, try again later",
    (3, 2): "it is busy, try again later",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Echo:
    """An answer to C-ECHO: its status, and the seconds for the association and for the echo alone."""

    status: int
    association_s: float
    echo_s: float

    @property
    def ok(self) -> bool:
        """Whether the peer answered with success."""
        return self.status == 0


@contextmanager
def associate(
    remote: Remote,
    contexts: Sequence[PresentationContext],
    *,
    needed: str | None = None,
    roles: Sequence[Any] = (),
    handlers: Sequence[Any] = (),
    max_message_bytes: int = MAX_MESSAGE_BYTES,
) -> Generator[Association]:
    """An association on which every reply arrives, released at the end; after an exception it is aborted.

    ``needed`` is the abstract syntax without which it is of no use.

    Raises:
        Unreachable: nobody answers, or the association ended before it stood.
        Rejected: the peer does not want the association.
        Refused: it does not offer the service.
    """
    with closing(connect(remote)) as connection:
        association = _request(remote, connection, contexts, roles, handlers, max_message_bytes)
        try:
            try:
                _check(association, remote, needed)
                yield association
            except BaseException:
                association.abort()
                raise
            if is_open(association):
                association.acse_timeout = min(remote.timeout_s, RELEASE_TIMEOUT_S)
                association.release()
            else:
                association.abort()
        finally:
            let_go(association)


def echo(remote: Remote) -> Echo:
    """Ask a peer whether it is there.

    Raises:
        PeerError: it is not, or does not want the association.
    """
    started = time.perf_counter()
    contexts = [build_context(VERIFICATION_SOP_CLASS, list(UNCOMPRESSED))]
    with associate(remote, contexts, needed=VERIFICATION_SOP_CLASS) as association:
        associated = time.perf_counter()
        with requests(remote):
            status = status_of(association.send_c_echo(), remote)
        answered = time.perf_counter()
    return Echo(status=status, association_s=associated - started, echo_s=answered - associated)


@contextmanager
def requests(remote: Remote) -> Generator[None]:
    """Send requests within this block: what pynetdicom raises where the association is gone becomes `Unreachable`."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise Unreachable(f"{remote} broke off.") from error


def status_of(response: Dataset, remote: Remote) -> int:
    """The status of a response.

    Raises:
        Unreachable: it is pynetdicom's stand-in for a response that did not come.
    """
    if "Status" not in response:
        raise Unreachable(f"{remote} gave no reply within {remote.timeout_s:g} s, or broke off.")
    return int(response.Status)


def _request(  # noqa: PLR0917 - the arguments of `associate`, in its order
    remote: Remote,
    connection: socket.socket,
    contexts: Sequence[PresentationContext],
    roles: Sequence[Any],
    handlers: Sequence[Any],
    max_message_bytes: int,
) -> Association:
    entity = CallingEntity(remote, connection, max_message_bytes=max_message_bytes)
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    association = entity.associate(
        connection.getpeername()[0],
        remote.port,
        contexts=list(contexts),
        ae_title=remote.ae_title,
        max_pdu=MAX_PDU_BYTES,
        ext_neg=list(roles),
        evt_handlers=[(evt.EVT_ESTABLISHED, hold), *handlers],
    )
    if not association.is_established:
        raise _not_established(association, remote)
    return association


def _check(association: Association, remote: Remote, needed: str | None) -> None:
    accepted = {str(context.abstract_syntax) for context in association.accepted_contexts}
    if needed is not None and needed not in accepted:
        raise Refused(f"{remote} does not offer {needed}.")
    longest = association.acceptor.maximum_length or MAX_PDU_BYTES
    if longest < LEAST_PDU_BYTES:
        raise Refused(f"{remote} takes PDUs of {longest} bytes at most.")


def _not_established(association: Association, remote: Remote) -> Unreachable | Refused:
    if association.is_rejected:
        return Rejected(_why_rejected(association.acceptor.primitive, remote))
    if association.rejected_contexts:
        return NoContext(
            f"{remote} accepts no presentation context (SOP class and transfer syntax) that it was offered."
        )
    return Unreachable(f"{remote} does not answer as a DICOM node, or ended the association before it stood.")


def _why_rejected(answer: A_ASSOCIATE | None, remote: Remote) -> str:
    if answer is None:
        return f"{remote} gave no reason."
    advice = _REJECTION_ADVICE.get((answer.result_source or 0, answer.diagnostic or 0), "")
    said = f"{remote}: {answer.reason_str or 'no reason given'}"
    return f"{said}; {advice.format(remote=remote)}." if advice else f"{said}."
