"""The messages of the service: an N-ACTION read, its response and the N-EVENT-REPORT written as PDUs.

Leans on pynetdicom (3.0.x) for the encoding of commands and their fragments.
"""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID
from pynetdicom.dimse_messages import N_ACTION_RSP, N_EVENT_REPORT_RQ
from pynetdicom.dimse_primitives import N_ACTION, N_EVENT_REPORT
from pynetdicom.dsutils import decode, encode
from pynetdicom.pdu import P_DATA_TF

from dicom_node.commitment.errors import BadRequest, NoSuchAction, NoSuchObject
from dicom_node.commitment.judgement import Judgement, Reference
from dicom_node.network.contexts import STORAGE_COMMITMENT_PUSH_MODEL
from dicom_node.network.dataset_check import walk_elements
from dicom_node.network.errors import UnparsableDataset
from dicom_node.network.protocol import Message
from dicom_node.storage.header import is_usable_uid

__all__ = [
    "PUSH_MODEL",
    "PUSH_MODEL_INSTANCE",
    "action_response",
    "event_information",
    "event_report",
    "event_type",
    "pdus",
    "read_command",
    "read_request",
]

PUSH_MODEL = STORAGE_COMMITMENT_PUSH_MODEL
PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1.1"
"""Storage Commitment Push Model SOP Class and its well-known instance (PS3.4 section J.3.5)."""

_FRAGMENT = 4096
"""Longest PDU that is sent: what every implementation takes, whatever it said."""
_REQUEST_COMMITMENT = 1
_TRANSACTION, _REFERENCED_SOP_CLASS, _REFERENCED_SOP_INSTANCE = 0x00081195, 0x00081150, 0x00081155
_SUCCESSFUL, _FAILURES_EXIST = 1, 2


def read_command(message: Message) -> Dataset:
    """The command set; an element that is missing reads as absent."""
    return decode(BytesIO(message.command), True, True)


def read_request(command: Dataset, message: Message) -> tuple[str, tuple[Reference, ...]]:
    """The Transaction UID of an N-ACTION, and the instances it asks about.

    Raises:
        ActionRefused: it is another action, for another object, or has no usable data set.
    """
    if command.get("ActionTypeID") != _REQUEST_COMMITMENT:
        raise NoSuchAction
    if command.get("RequestedSOPInstanceUID") != PUSH_MODEL_INSTANCE:
        raise NoSuchObject
    syntax = UID(message.transfer_syntax_uid)
    try:
        walk_elements(message.dataset, explicit=not syntax.is_implicit_VR, wanted=frozenset())
    except UnparsableDataset as error:
        raise BadRequest("(the data set cannot be parsed)") from error
    dataset = decode(BytesIO(message.dataset), syntax.is_implicit_VR, syntax.is_little_endian)
    transaction_uid = _uid(dataset, "TransactionUID")
    items = dataset.get("ReferencedSOPSequence")
    if not isinstance(items, Sequence) or not items:
        raise BadRequest("(no Referenced SOP Sequence)")
    return transaction_uid, tuple(
        (_uid(item, "ReferencedSOPClassUID"), _uid(item, "ReferencedSOPInstanceUID")) for item in items
    )


def _uid(dataset: Dataset, keyword: str) -> str:
    uid = str(dataset.get(keyword) or "")
    if not is_usable_uid(uid):
        raise BadRequest(f"({keyword})")
    return uid


def event_type(judgement: Judgement) -> int:
    """Event Type ID: all instances are safe (1), or failures exist (2)."""
    return _FAILURES_EXIST if judgement.failed else _SUCCESSFUL


def event_information(transaction_uid: str, judgement: Judgement) -> Dataset:
    """The N-EVENT-REPORT's data set (PS3.4 table J.3-2); a UID that does not conform is answered as it was asked."""
    answer = Dataset()
    answer.add(DataElement(_TRANSACTION, "UI", transaction_uid, validation_mode=IGNORE))
    if judgement.committed:
        answer.ReferencedSOPSequence = Sequence([_item(reference) for reference in judgement.committed])
    if judgement.failed:
        answer.FailedSOPSequence = Sequence([_item(reference, reason) for reference, reason in judgement.failed])
    return answer


def _item(reference: Reference, reason: int | None = None) -> Dataset:
    item = Dataset()
    for tag, uid in zip((_REFERENCED_SOP_CLASS, _REFERENCED_SOP_INSTANCE), reference, strict=True):
        item.add(DataElement(tag, "UI", uid, validation_mode=IGNORE))
    if reason is not None:
        item.FailureReason = reason
    return item


def action_response(command: Dataset, context_id: int, status: int) -> bytes:
    """The N-ACTION response, as PDUs."""
    response = N_ACTION()
    response.MessageIDBeingRespondedTo = command.MessageID
    response.AffectedSOPClassUID = PUSH_MODEL
    response.AffectedSOPInstanceUID = PUSH_MODEL_INSTANCE
    if status == 0:
        response.ActionTypeID = _REQUEST_COMMITMENT
    response.Status = status
    return b"".join(pdus(N_ACTION_RSP(), response, context_id))


def event_report(message_id: int, message: Message, transaction_uid: str, judgement: Judgement) -> bytes:
    """The N-EVENT-REPORT request on the presentation context that ``message`` came by, as PDUs."""
    syntax = UID(message.transfer_syntax_uid)
    information = event_information(transaction_uid, judgement)
    encoded = encode(information, syntax.is_implicit_VR, syntax.is_little_endian)
    if encoded is None:
        raise ValueError("the answer cannot be encoded")
    request = N_EVENT_REPORT()
    request.MessageID = message_id
    request.AffectedSOPClassUID = PUSH_MODEL
    request.AffectedSOPInstanceUID = PUSH_MODEL_INSTANCE
    request.EventTypeID = event_type(judgement)
    request.EventInformation = BytesIO(encoded)
    return b"".join(pdus(N_EVENT_REPORT_RQ(), request, message.context_id))


def pdus(message: Any, primitive: Any, context_id: int) -> Iterator[bytes]:
    """The PDUs of a primitive, encoded by the message class that stands for it."""
    message.primitive_to_message(primitive)
    for fragment in message.encode_msg(context_id, _FRAGMENT):
        pdu = P_DATA_TF()
        pdu.from_primitive(fragment)
        yield pdu.encode()
