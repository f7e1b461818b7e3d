"""Results go to a PACS by C-STORE, one association an object."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID
from pynetdicom.status import code_to_category

from alerts.artefact import REPORT_CLASSES
from dicom_node.delivery.channel import Parcel, Receipt
from dicom_node.delivery.errors import DeliveryError, NotTaken, Refused, Undeliverable, Unreachable, failure_of
from dicom_node.peers import errors as peer_errors
from dicom_node.peers.remote import Remote
from dicom_node.peers.scu import echo
from dicom_node.peers.sending import Sent, send

__all__ = ["DicomChannel"]

_REMEMBERED_S = 86_400.0


class DicomChannel:
    """A Storage SCP; ``remote`` says how it is called at this moment.

    Which forms of a report it does not take is remembered for a day, or until ``check``: so long they are offered last.
    """

    def __init__(self, remote: Callable[[], Remote], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._remote = remote
        self._monotonic = monotonic
        self._not_taken: dict[str, float] = {}

    def deliver(self, parcel: Parcel) -> Receipt:
        """Send the object and return the receipt; a report goes in the first form that the peer takes.

        Raises:
            Unreachable: no association, or it broke off. Worth another attempt.
            Busy, ProcessingFailure: the peer is out of resources (0xA7xx) or failed (0x0110). Worth another attempt.
            NotTaken: the peer does not take such objects.
            Refused: the peer does not take this one.
            Undeliverable: the file is missing or is not a DICOM object.
        """
        try:
            own_class = str(read_file_meta_info(parcel.path).MediaStorageSOPClassUID)
        except (OSError, InvalidDicomError, AttributeError) as error:
            raise Undeliverable(f"{parcel.path.name} is missing or not a DICOM object.") from error
        if own_class not in REPORT_CLASSES:
            return self._send(parcel.path)
        with TemporaryDirectory(prefix="lungsentry-variant-") as scratch:
            return self._send_report(parcel, own_class, Path(scratch))

    def _send_report(self, parcel: Parcel, own_class: str, scratch: Path) -> Receipt:
        """In the forms that are known to be refused last."""
        refusal: NotTaken | None = None
        for sop_class in sorted(REPORT_CLASSES, key=self._is_known):
            try:
                receipt = self._send(_in_form(parcel, sop_class, scratch))
            except NotTaken as error:
                self._not_taken[sop_class] = self._monotonic()
                refusal = error
            else:
                said = receipt.answer if sop_class == own_class else f"{receipt.answer} as {UID(sop_class).name}"
                return replace(receipt, answer=said)
        raise refusal or NotTaken

    def _is_known(self, sop_class: str) -> bool:
        told = self._not_taken.get(sop_class)
        return told is not None and self._monotonic() - told < _REMEMBERED_S

    def _send(self, path: Path) -> Receipt:
        try:
            remote = self._remote()
            (sent,) = send(remote, [path]).files
        except peer_errors.NothingToSend as error:
            raise Undeliverable(f"{path.name} is missing or not a DICOM object.") from error
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
        self._not_taken.clear()
        if not answer.ok:
            raise Refused(f"{remote} replied 0x{answer.status:04X} to C-ECHO.")
        return f"{remote} answered C-ECHO with success"


def _in_form(parcel: Parcel, sop_class: str, scratch: Path) -> Path:
    """The file as an object of this class, without references to what is not at the destination."""
    from alerts.reports.variants import report_variant  # what makes reports takes a second to load

    variant = report_variant(parcel.path.read_bytes(), sop_class_uid=sop_class, absent=parcel.absent)
    if variant is None:
        return parcel.path
    path = scratch / f"{sop_class}.dcm"
    path.write_bytes(variant.content)
    return path


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
