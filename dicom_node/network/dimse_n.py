"""DIMSE-N messages (PS3.7 section 10): what came is read, responses and event reports are written as PDUs."""

from enum import IntEnum
from io import BytesIO
from typing import Any

from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.dsutils import decode, encode

from dicom_node.network.dataset_check import walk_elements
from dicom_node.network.dimse import NO_DATA_SET, RESPONSE, command_pdu, dataset_pdus
from dicom_node.network.protocol import Message

__all__ = ["Operation", "event_report", "is_response", "read_command", "read_dataset", "response"]

_SOME_DATA_SET = 0x0001


class Operation(IntEnum):
    """Command Field of the requests that the node takes or makes (PS3.7 table E.1-1)."""

    N_EVENT_REPORT = 0x0100
    N_SET = 0x0120
    N_ACTION = 0x0130
    N_CREATE = 0x0140


def read_command(message: Message) -> Dataset:
    """The command set; an element that is missing reads as absent."""
    return decode(BytesIO(message.command), True, True)


def is_response(command: Dataset, operation: Operation | None = None) -> bool:
    """The message is a response, to that operation where one is named."""
    field = int(command.get("CommandField") or 0)
    return bool(field & RESPONSE) if operation is None else field == operation | RESPONSE


def read_dataset(message: Message) -> Dataset:
    """The message's data set, once its elements are known to be whole.

    Raises:
        UnparsableDataset: they are not.
    """
    syntax = UID(message.transfer_syntax_uid)
    walk_elements(message.dataset, explicit=not syntax.is_implicit_VR, wanted=frozenset())
    return decode(BytesIO(message.dataset), syntax.is_implicit_VR, syntax.is_little_endian)


def response(command: Dataset, context_id: int, status: int, **elements: Any) -> bytes:
    """The response to a request, of the request's own operation; further elements by keyword.

    The SOP class and instance that a request asks about are those that its response is about.
    """
    told: dict[str, Any] = {
        "AffectedSOPClassUID": _of(command, "SOPClassUID"),
        "CommandField": command.CommandField | RESPONSE,
        "MessageIDBeingRespondedTo": command.MessageID,
        "CommandDataSetType": NO_DATA_SET,
        "Status": status,
        "AffectedSOPInstanceUID": _of(command, "SOPInstanceUID"),
    }
    return command_pdu(context_id, _command_set(told | elements))


def event_report(
    message_id: int, message: Message, *, sop_class_uid: str, sop_instance_uid: str, event_type: int, dataset: Dataset
) -> bytes:
    """An N-EVENT-REPORT request on the presentation context that ``message`` came by."""
    syntax = UID(message.transfer_syntax_uid)
    encoded = encode(dataset, syntax.is_implicit_VR, syntax.is_little_endian)
    if encoded is None:
        raise ValueError("the data set cannot be encoded")
    command = _command_set(
        {
            "AffectedSOPClassUID": sop_class_uid,
            "CommandField": Operation.N_EVENT_REPORT,
            "MessageID": message_id,
            "CommandDataSetType": _SOME_DATA_SET,
            "AffectedSOPInstanceUID": sop_instance_uid,
            "EventTypeID": event_type,
        }
    )
    return command_pdu(message.context_id, command) + dataset_pdus(message.context_id, encoded)


def _of(command: Dataset, what: str) -> str | None:
    uid = command.get(f"Requested{what}") or command.get(f"Affected{what}")
    return str(uid) if uid else None


def _command_set(elements: dict[str, Any]) -> bytes:
    """Encoded without its group length; a UID that does not conform is written as it is."""
    command = Dataset()
    for keyword, value in elements.items():
        tag = tag_for_keyword(keyword)
        if tag is not None and value is not None:
            command.add(DataElement(tag, dictionary_VR(tag), value, validation_mode=IGNORE))
    encoded = encode(command, True, True)
    if encoded is None:
        raise ValueError("the command cannot be encoded")
    return encoded
