"""Negotiation on pynetdicom's PDUs: the one place that a new version of it can break."""

import struct
from collections.abc import Iterator

import pynetdicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import config as pydicom_config
from pynetdicom import AE
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification
from pynetdicom.presentation import build_context

from dicom_node.network.contexts import supported_contexts
from dicom_node.network.errors import InvalidPdu
from dicom_node.network.upper_layer import Agreement, Negotiator, read_proposal, rejection

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT, RLE, PRIVATE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5", "1.2.3.4"


def request(*contexts: tuple[str, list[str]], name: str = "1.2.840.10008.3.1.1.1") -> bytes:
    """An A-ASSOCIATE-RQ as pynetdicom writes it."""
    asked = A_ASSOCIATE()
    asked.application_context_name = name
    asked.calling_ae_title, asked.called_ae_title = "CT1", "LUNGSENTRY"
    proposed = []
    for number, (sop_class, syntaxes) in enumerate(contexts):
        context = build_context(sop_class, syntaxes)
        context.context_id = 2 * number + 1
        proposed.append(context)
    asked.presentation_context_definition_list = proposed
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = 16384
    implementation.implementation_class_uid = "1.2.3"
    asked.user_information = [length, implementation]
    return A_ASSOCIATE_RQ(asked).encode()


@pytest.fixture(scope="module", autouse=True)
def no_validation() -> Iterator[None]:
    """As in the receiver's process: odd UIDs are the intake's to judge, not pydicom's to warn of."""
    mode = pydicom_config.settings.reading_validation_mode
    pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE
    yield
    pydicom_config.settings.reading_validation_mode = mode


@pytest.fixture(scope="module")
def negotiator() -> Negotiator:
    return Negotiator(supported_contexts(), max_pdu_bytes=131072)


def test_pynetdicom_is_the_version_this_was_written_for() -> None:
    """Another minor version has to be looked at, and this line moved."""
    assert pynetdicom.__version__.startswith("3.0.")


def test_contexts_are_agreed_on_one_by_one(negotiator: Negotiator) -> None:
    """A known class with a known syntax is accepted with it; an unknown class or syntax is refused by itself."""
    proposal = read_proposal(request((CT, [PRIVATE, RLE]), (MR, [EXPLICIT]), (CT, [PRIVATE])))

    agreement = negotiator.negotiate(proposal)

    assert isinstance(agreement, Agreement)
    assert (proposal.calling_ae_title, proposal.called_ae_title) == ("CT1", "LUNGSENTRY")
    assert {key: (one.abstract_syntax, one.transfer_syntax) for key, one in agreement.contexts.items()} == {
        1: (CT, RLE)
    }
    reply = A_ASSOCIATE_AC()
    reply.decode(agreement.reply)
    told = reply.to_primitive()
    assert [context.result for context in told.presentation_context_definition_results_list] == [0, 3, 4]
    assert told.maximum_length_received == 131072


def test_same_proposal_is_negotiated_once(negotiator: Negotiator) -> None:
    """A scanner that asks again gets the very same answer, from the table."""
    encoded = request((CT, [EXPLICIT]))

    assert negotiator.negotiate(read_proposal(encoded)) is negotiator.negotiate(read_proposal(encoded))


def test_another_application_is_rejected(negotiator: Negotiator) -> None:
    """What is not the DICOM application context gets result, source and diagnostic of PS3.8 table 9-21."""
    assert negotiator.negotiate(read_proposal(request((CT, [EXPLICIT]), name="1.2.3"))) == (1, 1, 2)


def test_another_protocol_version_is_rejected() -> None:
    """Without bit 0 of the protocol version there is nothing to talk about."""
    encoded = bytearray(request((CT, [EXPLICIT])))
    struct.pack_into(">H", encoded, 6, 2)

    assert read_proposal(bytes(encoded)).refusal == (1, 2, 2)


def test_rejection_is_a_pdu_that_peers_read() -> None:
    """The bytes are an A-ASSOCIATE-RJ."""
    assert rejection(2, 3, 2) == bytes((3, 0, 0, 0, 0, 4, 0, 2, 3, 2))


@given(st.binary(max_size=400), st.integers(0, 300))
@settings(max_examples=200, deadline=None)
def test_garbage_is_an_invalid_pdu_and_nothing_else(garbage: bytes, kept: int) -> None:
    """Whatever follows the beginning of a request, it is answered or refused: no other error comes out."""
    negotiator = Negotiator(supported_contexts(), max_pdu_bytes=131072)
    encoded = request((CT, [EXPLICIT]), (MR, [EXPLICIT]))[:kept] + garbage
    try:
        negotiator.negotiate(read_proposal(encoded))
    except InvalidPdu:
        """As promised."""


def test_requests_of_pynetdicom_itself_are_read(negotiator: Negotiator) -> None:
    """A requestor with 128 contexts is within the limits and answered."""
    entity = AE("CT1")
    proposal = request(*((f"1.2.3.{number}", [EXPLICIT]) for number in range(128)))
    answer = negotiator.negotiate(read_proposal(proposal))
    assert isinstance(answer, Agreement)
    assert answer.contexts == {}
    assert entity.ae_title == "CT1"


def item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(content)) + content


def extended(encoded: bytes, *, user: bytes = b"", more: bytes = b"") -> bytes:
    """The request with further user information sub-items, and further items."""
    position = 74
    body = encoded[6:74]
    while position < len(encoded):
        kind, _, length = struct.unpack_from(">BBH", encoded, position)
        content = encoded[position + 4 : position + 4 + length]
        body += item(kind, content + user if kind == 0x50 else content)
        position += 4 + length
    return struct.pack(">BBI", 1, 0, len(body + more)) + body + more


@pytest.mark.parametrize(
    "odd",
    [
        {"user": item(0x5F, b"abcd")},
        {"more": item(0x60, b"abcd")},
        {"user": item(0x58, b"\6\1" + struct.pack(">H", 1) + b"a" + b"\0\0")},
        {"user": item(0x58, b"\1\0\0\0\0\0")},
        {"user": item(0x59, b"")},
        {
            "more": item(
                0x20, bytes((9, 0, 0, 0)) + item(0x30, CT.encode()) + item(0x40, RLE.encode()) + item(0x7E, b"x")
            )
        },
    ],
)
def test_items_that_nobody_knows_are_ignored(odd: dict[str, bytes], negotiator: Negotiator) -> None:
    """A later edition's item, or sub-item, changes nothing (PS3.8 section 9.3.1): what is known is agreed on."""
    plain = negotiator.negotiate(read_proposal(request((CT, [EXPLICIT]))))
    agreement = negotiator.negotiate(read_proposal(extended(request((CT, [EXPLICIT])), **odd)))
    assert isinstance(plain, Agreement)
    assert isinstance(agreement, Agreement)
    assert agreement.contexts[1] == plain.contexts[1]


def test_item_that_breaks_off_is_no_request(negotiator: Negotiator) -> None:
    """A length beyond the end is told, not guessed at."""
    broken = extended(request((CT, [EXPLICIT])), more=struct.pack(">BBH", 0x60, 0, 9) + b"abcd")
    with pytest.raises(InvalidPdu):
        negotiator.negotiate(read_proposal(broken))


@pytest.mark.parametrize("padding", [b" ", b"\0"])
def test_titles_are_read_without_their_padding(padding: bytes, negotiator: Negotiator) -> None:
    """Spaces are the Standard's, NUL is some devices'; the association is agreed on either way."""
    encoded = request((CT, [EXPLICIT]))
    titles = b"LUNGSENTRY".ljust(16, padding) + b"CT1".ljust(16, padding)
    proposal = read_proposal(encoded[:10] + titles + encoded[42:])
    assert (proposal.called_ae_title, proposal.calling_ae_title) == ("LUNGSENTRY", "CT1")
    assert isinstance(negotiator.negotiate(proposal), Agreement)
