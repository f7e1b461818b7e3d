"""Results go to a PACS by C-STORE, one association an object."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association

from dicom_node.delivery.errors import Busy, Refused, Undeliverable, Unreachable

__all__ = ["Receipt", "store"]

# Status of C-STORE (PS3.4 table B.2-1): success, the three warnings, out of resources.
_SUCCESS = 0x0000
_WARNINGS = frozenset({0xB000, 0xB006, 0xB007})
_OUT_OF_RESOURCES = range(0xA700, 0xA800)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the destination said to an object that it took."""

    status: int

    @property
    def warning(self) -> bool:
        """Whether it took the object with a warning."""
        return self.status in _WARNINGS


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
    try:
        dataset = pydicom.dcmread(path)
        sop_class_uid = str(dataset.SOPClassUID)
    except (OSError, InvalidDicomError, AttributeError) as error:
        raise Undeliverable(f"{path.name} is missing or not a DICOM object.") from error
    entity = AE(ae_title=calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = timeout_s
    entity.add_requested_context(sop_class_uid, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    association = entity.associate(host, port, ae_title=called, tls_args=None if tls is None else (tls, host))
    if not association.is_established:
        raise _not_established(association, f"{called} at {host}:{port}", sop_class_uid)
    try:
        reply = association.send_c_store(dataset)
    except (ValueError, RuntimeError) as error:  # pynetdicom: cannot be encoded; association is gone
        if association.is_established:
            raise Undeliverable(f"{path.name} cannot be encoded for {called}.") from error
        raise Unreachable(f"{called} broke off the association.") from error
    finally:
        if association.is_established:
            association.release()
    if "Status" not in reply:
        raise Unreachable(f"{called} gave no reply within {timeout_s:g} s.")
    return _judge(int(reply.Status), called)


def _judge(status: int, called: str) -> Receipt:
    if status == _SUCCESS or status in _WARNINGS:
        return Receipt(status=status)
    if status in _OUT_OF_RESOURCES:
        raise Busy(f"{called} replied 0x{status:04X}.")
    raise Refused(f"{called} replied 0x{status:04X}.")


def _not_established(association: Association, peer: str, sop_class_uid: str) -> Unreachable | Refused:
    if association.rejected_contexts:
        return Refused(f"{peer} accepts no presentation context for SOP class {sop_class_uid}.")
    if association.is_rejected:
        answer = association.acceptor.primitive
        reason = f": {answer.reason_str}" if answer is not None else ""
        return Unreachable(f"{peer} rejected the association{reason}.")
    return Unreachable(f"{peer} does not answer as a DICOM node.")
