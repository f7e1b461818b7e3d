"""Results go to a PACS by C-STORE, one association an object."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from pynetdicom.status import code_to_category

from dicom_node.delivery.errors import Busy, Refused, Undeliverable, Unreachable
from dicom_node.peers import errors as peer_errors
from dicom_node.peers.remote import Remote
from dicom_node.peers.sending import Sent, send

__all__ = ["Receipt", "store"]

_OUT_OF_RESOURCES = range(0xA700, 0xA800)  # PS3.4 table B.2-1


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the destination said to an object that it took."""

    status: int

    @property
    def warning(self) -> bool:
        """Whether it took the object with a warning."""
        return code_to_category(self.status) == "Warning"


def store(
    path: Path,
    *,
    host: str,
    port: int,
    called: str,
    calling: str,
    timeout_s: float = 30.0,
    tls: ssl.SSLContext | None = None,
) -> Receipt:
    """Send the object in ``path`` to the node ``called``, by TLS if there is a context, and return its receipt.

    Raises:
        Unreachable: no association, or it broke off. Worth another attempt.
        Busy: the peer is out of resources (0xA7xx). Worth another attempt.
        Refused: the peer does not take such objects, or not this one.
        Undeliverable: the file is missing or is not a DICOM object.
    """
    remote = Remote(ae_title=called, host=host, port=port, calling_ae_title=calling, tls=tls, timeout_s=timeout_s)
    try:
        (sent,) = send(remote, [path]).files
    except peer_errors.NothingToSend as error:
        raise Undeliverable(f"{path.name} is missing or not a DICOM object.") from error
    except peer_errors.PeerError as error:
        raise (Unreachable if error.transient else Refused)(error.detail) from error
    return _judged(sent, called)


def _judged(sent: Sent, called: str) -> Receipt:
    if sent.status is None:
        raise Unreachable(f"{called}: {sent.reason}.")
    if sent.status in _OUT_OF_RESOURCES:
        raise Busy(f"{called} replied {sent.reason}.")
    if code_to_category(sent.status) not in {"Success", "Warning"}:
        raise Refused(f"{called} replied {sent.reason}.")
    return Receipt(status=sent.status)
