"""Commands read from bytes, replies written as bytes."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.dimse_messages import C_ECHO_RQ, C_STORE_RQ, C_STORE_RSP
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.pdu import P_DATA_TF

from dicom_node.network import dimse
from dicom_node.network.errors import InvalidPdu

CT = "1.2.840.10008.5.1.4.1.1.2"


def store_command(uid: str = "1.2.3") -> bytes:
    primitive = C_STORE()
    primitive.MessageID, primitive.Priority = 77, 2
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = CT, uid
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    message.command_set.CommandDataSetType = 0x0000
    return encode(message.command_set, True, True)


def test_store_request_is_read() -> None:
    """What pynetdicom writes is read as it was meant."""
    command = dimse.read_command(store_command())

    assert (command.operation, command.message_id, command.has_dataset) == (dimse.C_STORE_RQ, 77, True)
    assert (command.sop_class_uid, command.sop_instance_uid) == (CT, "1.2.3")
    assert command.wants_reply


@pytest.mark.parametrize("uid", ["1.2.3", "1.2.34", ""])
def test_reply_is_what_peers_understand(uid: str) -> None:
    """The reply that is put together by hand is read by pynetdicom, field by field."""
    command = dimse.read_command(store_command(uid or "1"))

    pdu = P_DATA_TF()
    pdu.decode(dimse.reply(5, command, 0xA700))
    message = C_STORE_RSP()
    assert message.decode_msg(pdu.to_primitive())
    told = message.message_to_primitive()

    assert message.context_id == 5
    assert (told.MessageIDBeingRespondedTo, told.Status) == (77, 0xA700)
    assert (told.AffectedSOPClassUID, told.AffectedSOPInstanceUID) == (CT, uid or "1")
    assert message.command_set.CommandGroupLength == len(encode(message.command_set, True, True)) - 12


def test_echo_has_no_dataset() -> None:
    """An echo is read as one, without a data set."""
    primitive = C_ECHO()
    primitive.MessageID = 1
    message = C_ECHO_RQ()
    message.primitive_to_message(primitive)

    command = dimse.read_command(encode(message.command_set, True, True))

    assert (command.operation, command.has_dataset) == (dimse.C_ECHO_RQ, False)


def test_response_is_not_answered() -> None:
    """What is itself a response, or a C-CANCEL, gets no reply: two nodes would talk for ever."""
    encoded = store_command()
    position = encoded.index(struct.pack("<HHI", 0, 0x0100, 2)) + 8
    for field in (0x8001, 0x0FFF):
        changed = encoded[:position] + struct.pack("<H", field) + encoded[position + 2 :]
        assert not dimse.read_command(changed).wants_reply


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_garbage_is_an_invalid_pdu_and_nothing_else(garbage: bytes) -> None:
    """No bytes bring anything else out of it."""
    try:
        dimse.read_command(garbage)
    except InvalidPdu:
        """As promised."""
