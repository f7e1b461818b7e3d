"""DIMSE messages (PS3.7): commands read from their bytes, C-STORE and C-ECHO replies written without a data set."""

import struct
from dataclasses import dataclass, field

from dicom_node.network.dataset_check import walk_elements
from dicom_node.network.errors import InvalidPdu, UnparsableDataset

__all__ = [
    "C_ECHO_RQ",
    "C_STORE_RQ",
    "NO_DATA_SET",
    "RESPONSE",
    "Command",
    "command_pdu",
    "dataset_pdus",
    "read_command",
    "reply",
]

C_STORE_RQ, C_ECHO_RQ, C_CANCEL_RQ = 0x0001, 0x0030, 0x0FFF
RESPONSE = 0x8000
"""Set in the Command Field of a response (PS3.7 table E.1-1)."""
NO_DATA_SET = 0x0101
_LONGEST_PDU = 4096
"""Of what is sent: every implementation takes it, whatever it said."""
_PDV_HEAD_BYTES = 6
_COMMAND_AND_LAST, _DATASET, _DATASET_AND_LAST = 0x03, 0x00, 0x02
"""Message control headers (PS3.8 annex E.2)."""

_SOP_CLASS, _COMMAND_FIELD, _MESSAGE_ID, _DATA_SET_TYPE, _SOP_INSTANCE = (
    0x00000002,
    0x00000100,
    0x00000110,
    0x00000800,
    0x00001000,
)
_WANTED = frozenset({_SOP_CLASS, _COMMAND_FIELD, _MESSAGE_ID, _DATA_SET_TYPE, _SOP_INSTANCE})
_LONGEST_UID = 64
_NOT_COMMAND = frozenset(range(1, 0x10000))


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A request's command set: what it asks, of which object, and whether a data set follows."""

    operation: int
    message_id: int
    has_dataset: bool
    encoded: bytes = field(repr=False)
    sop_class: bytes = field(repr=False)
    sop_instance: bytes = field(repr=False)

    @property
    def sop_class_uid(self) -> str:
        """The Affected SOP Class UID, without padding."""
        return self.sop_class.decode("latin-1").strip(" \0")

    @property
    def sop_instance_uid(self) -> str:
        """The Affected SOP Instance UID, without padding."""
        return self.sop_instance.decode("latin-1").strip(" \0")

    @property
    def wants_reply(self) -> bool:
        """It is a request; a response, and a C-CANCEL, is not answered."""
        return not self.operation & RESPONSE and self.operation != C_CANCEL_RQ


def read_command(encoded: bytes | bytearray) -> Command:
    """A command set (PS3.7 section 6.3.1: Implicit VR Little Endian, group 0000 alone).

    Raises:
        InvalidPdu: it is none, or lacks its field, its message ID or its data set type.
    """
    try:
        outline = walk_elements(bytes(encoded), explicit=False, wanted=_WANTED, forbidden_groups=_NOT_COMMAND)
    except UnparsableDataset as error:
        raise InvalidPdu("a command set that cannot be parsed") from error
    what, message_id, data_set = (outline.unsigned_short(tag) for tag in (_COMMAND_FIELD, _MESSAGE_ID, _DATA_SET_TYPE))
    if what is None or data_set is None:
        raise InvalidPdu("a command set without its command")
    if message_id is None:
        if not what & RESPONSE and what != C_CANCEL_RQ:
            raise InvalidPdu("a request without its message ID")
        message_id = 0
    return Command(
        operation=what,
        message_id=message_id,
        has_dataset=data_set != NO_DATA_SET,
        encoded=bytes(encoded),
        sop_class=outline.values.get(_SOP_CLASS, b""),
        sop_instance=outline.values.get(_SOP_INSTANCE, b""),
    )


def reply(context_id: int, command: Command, status: int) -> bytes:
    """The response to a request, as one P-DATA-TF PDU: the UIDs are the request's own bytes."""
    elements = b"".join(
        (
            _uid(_SOP_CLASS, command.sop_class),
            _short(_COMMAND_FIELD, command.operation | RESPONSE),
            _short(0x00000120, command.message_id),
            _short(_DATA_SET_TYPE, NO_DATA_SET),
            _short(0x00000900, status),
            _uid(_SOP_INSTANCE, command.sop_instance),
        )
    )
    return command_pdu(context_id, elements)


def command_pdu(context_id: int, elements: bytes) -> bytes:
    """A command set, given without its group length, as one P-DATA-TF PDU."""
    return _pdu(context_id, _COMMAND_AND_LAST, struct.pack("<HHII", 0, 0, 4, len(elements)) + elements)


def dataset_pdus(context_id: int, encoded: bytes) -> bytes:
    """A data set as P-DATA-TF PDUs that every peer takes."""
    step = _LONGEST_PDU - _PDV_HEAD_BYTES
    starts = range(0, len(encoded), step)
    return b"".join(
        _pdu(context_id, _DATASET_AND_LAST if start == starts[-1] else _DATASET, encoded[start : start + step])
        for start in starts
    )


def _pdu(context_id: int, control: int, fragment: bytes) -> bytes:
    pdv = struct.pack(">IBB", len(fragment) + 2, context_id, control) + fragment
    return struct.pack(">BBI", 0x04, 0, len(pdv)) + pdv


def _short(tag: int, value: int) -> bytes:
    return struct.pack("<HHIH", 0, tag, 2, value)


def _uid(tag: int, value: bytes) -> bytes:
    """A UID as it came; one that is absent, or longer than a UID can be, is left out."""
    if not value or len(value) > _LONGEST_UID:
        return b""
    return struct.pack("<HHI", 0, tag, len(value)) + value
