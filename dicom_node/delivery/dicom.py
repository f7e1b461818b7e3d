"""Results go to a PACS by C-STORE, one association an object."""

from collections.abc import Callable

from pynetdicom.status import code_to_category

from dicom_node.delivery.channel import Parcel, Receipt
from dicom_node.delivery.errors import DeliveryError, NotTaken, Refused, Undeliverable, Unreachable, failure_of
from dicom_node.peers import errors as peer_errors
from dicom_node.peers.remote import Remote
from dicom_node.peers.scu import echo
from dicom_node.peers.sending import Sent, send

__all__ = ["DicomChannel"]


class DicomChannel:
    """A Storage SCP; ``remote`` says how it is called at this moment."""

    def __init__(self, remote: Callable[[], Remote]) -> None:
        self._remote = remote

    def deliver(self, parcel: Parcel) -> Receipt:
        """Send the object and return the receipt.

        Raises:
            Unreachable: no association, or it broke off. Worth another attempt.
            Busy, ProcessingFailure: the peer is out of resources (0xA7xx) or failed (0x0110). Worth another attempt.
            NotTaken: the peer does not take such objects.
            Refused: the peer does not take this one.
            Undeliverable: the file is missing or is not a DICOM object.
        """
        try:
            remote = self._remote()
            (sent,) = send(remote, [parcel.path]).files
        except peer_errors.NothingToSend as error:
            raise Undeliverable(f"{parcel.path.name} is missing or not a DICOM object.") from error
        except peer_errors.PeerError as error:
            raise _translated(error) from error
        return _judged(sent, remote.ae_title)

    def check(self) -> str:
        """Ask by C-ECHO.

        Raises:
            DeliveryError: no association, or another answer than success.
        """
        try:
            remote = self._remote()
            answer = echo(remote)
        except peer_errors.PeerError as error:
            raise _translated(error) from error
        if not answer.ok:
            raise Refused(f"{remote} replied 0x{answer.status:04X} to C-ECHO.")
        return f"{remote} answered C-ECHO with success"


def _translated(error: peer_errors.PeerError) -> DeliveryError:
    if isinstance(error, peer_errors.NoContext):
        return NotTaken(error.detail)
    return (Unreachable if error.transient else Refused)(error.detail)


def _judged(sent: Sent, called: str) -> Receipt:
    if sent.status is None:
        raise Unreachable(f"{called}: {sent.reason}.")
    category = code_to_category(sent.status)
    failure = None if category in {"Success", "Warning"} else failure_of(sent.status)
    if failure is not None:
        raise failure(f"{called} replied {sent.reason}.")
    return Receipt(answer=f"0x{sent.status:04X}", warning=category != "Success")
