"""Association negotiation: the one module that leans on pynetdicom (3.0.x), for its PDUs and its negotiation.

Used of it: ``pdu.A_ASSOCIATE_RQ``, ``pdu.A_ASSOCIATE_AC``, ``pdu_primitives.A_ASSOCIATE`` and the user information
items, ``presentation.negotiate_as_acceptor``. Its threads, queues and polling are not: data PDUs never pass it.
"""

import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import PresentationContext, negotiate_as_acceptor

from dicom_node.network.contexts import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.network.errors import InvalidPdu

__all__ = ["AcceptedContext", "Agreement", "Negotiator", "Proposal", "read_proposal", "rejection"]

_APPLICATION_CONTEXT_NAME = "1.2.840.10008.3.1.1.1"
_PROTOCOL_VERSION_1 = 0x0001
_ACCEPTANCE = 0x00
_HEADER_BYTES, _FIXED_BYTES, _CONTEXT_HEAD_BYTES = 6, 74, 4
_ITEM = struct.Struct(">BxH")
_APPLICATION_CONTEXT, _PRESENTATION_CONTEXT, _USER_INFORMATION = 0x10, 0x20, 0x50
_SYNTAXES = frozenset({0x30, 0x40})
_ANSWERED_USER_ITEMS = frozenset({0x51, 0x52, 0x55})
"""Maximum length, implementation class UID and version name (PS3.7 annex D.3.3)."""
_REMEMBERED = 64
_REMEMBERED_BYTES = 65_536

UNSUPPORTED_PROTOCOL = (1, 2, 2)
UNSUPPORTED_APPLICATION_CONTEXT = (1, 1, 2)
"""Result, source and diagnostic of an A-ASSOCIATE-RJ (PS3.8 table 9-21)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedContext:
    """A presentation context that both sides agreed on."""

    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """An A-ASSOCIATE-RQ that could be read; ``refusal`` is set where the protocol itself forbids it."""

    calling_ae_title: str
    called_ae_title: str
    refusal: tuple[int, int, int] | None
    encoded: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """The contexts agreed on, by their id, and the A-ASSOCIATE-AC that says so."""

    contexts: Mapping[int, AcceptedContext]
    reply: bytes = field(repr=False)


def rejection(result: int, source: int, diagnostic: int) -> bytes:
    """An A-ASSOCIATE-RJ PDU (PS3.8 section 9.3.4)."""
    return struct.pack(">BBIBBBB", 0x03, 0, 4, 0, result, source, diagnostic)


def read_proposal(encoded: bytes) -> Proposal:
    """Who asks whom, from an A-ASSOCIATE-RQ PDU with its header (PS3.8 table 9-11); the rest stays unread.

    Titles are padded with spaces; some devices pad with NUL, which is read as that.

    Raises:
        InvalidPdu: it is too short, or its titles are not characters of the default repertoire.
    """
    if len(encoded) < _FIXED_BYTES:
        raise InvalidPdu("an association request without its fixed fields")
    version = struct.unpack_from(">H", encoded, 6)[0]
    try:
        called, calling = (encoded[start : start + 16].decode("ascii").strip(" \0") for start in (10, 26))
    except UnicodeDecodeError as error:
        raise InvalidPdu("an AE title that is not ASCII") from error
    if not all(title.isprintable() for title in (called, calling)):
        raise InvalidPdu("an AE title with control characters")
    refusal = None if version & _PROTOCOL_VERSION_1 else UNSUPPORTED_PROTOCOL
    encoded = encoded[:10] + encoded[10:42].replace(b"\0", b" ") + encoded[42:]  # pynetdicom reads no other padding
    return Proposal(calling_ae_title=calling, called_ae_title=called, refusal=refusal, encoded=encoded)


class Negotiator:
    """Answers proposals with what the node supports; the same proposal again costs a look into a table.

    Proposals are remembered only when they are asked about, so that only admitted peers fill the table: at most 64
    of at most 64 KiB.
    """

    def __init__(self, contexts: Sequence[PresentationContext], *, max_pdu_bytes: int) -> None:
        self._contexts = list(contexts)
        self._max_pdu_bytes = max_pdu_bytes
        self._known: dict[bytes, Agreement | tuple[int, int, int]] = {}
        self._mutex = threading.Lock()

    def negotiate(self, proposal: Proposal) -> Agreement | tuple[int, int, int]:
        """The agreement, or the rejection's result, source and diagnostic.

        Raises:
            InvalidPdu: the request's items cannot be read.
        """
        with self._mutex:  # those that ask the same at once wait for the first: the work takes tens of milliseconds
            known = self._known.get(proposal.encoded)
            if known is None:
                known = self._negotiate(proposal)
                if len(proposal.encoded) <= _REMEMBERED_BYTES:
                    if len(self._known) >= _REMEMBERED:
                        self._known.clear()
                    self._known[proposal.encoded] = known
            return known

    def _negotiate(self, proposal: Proposal) -> Agreement | tuple[int, int, int]:
        request = A_ASSOCIATE_RQ()
        try:
            request.decode(_known_items(proposal.encoded))
            asked = request.to_primitive()
            name = asked.application_context_name
            wanted = asked.presentation_context_definition_list
        except _UNREADABLE as error:
            raise InvalidPdu(f"an association request that cannot be read ({type(error).__name__})") from error
        if name != _APPLICATION_CONTEXT_NAME:
            return UNSUPPORTED_APPLICATION_CONTEXT
        if not all(context.transfer_syntax and context.abstract_syntax for context in wanted):
            raise InvalidPdu("a presentation context without syntaxes")
        results, _ = negotiate_as_acceptor(wanted, self._contexts)
        return Agreement(
            contexts={
                context.context_id: AcceptedContext(
                    abstract_syntax=str(context.abstract_syntax), transfer_syntax=str(context.transfer_syntax[0])
                )
                for context in results
                if context.result == _ACCEPTANCE and context.context_id is not None
            },
            reply=self._accept(asked, results),
        )

    def _accept(self, asked: A_ASSOCIATE, results: list[PresentationContext]) -> bytes:
        answer = A_ASSOCIATE()
        answer.application_context_name = asked.application_context_name
        answer.calling_ae_title = asked.calling_ae_title
        answer.called_ae_title = asked.called_ae_title
        answer.result, answer.result_source = _ACCEPTANCE, 0x01
        answer.presentation_context_definition_results_list = results
        length, implementation, version = (
            MaximumLengthNotification(),
            ImplementationClassUIDNotification(),
            ImplementationVersionNameNotification(),
        )
        length.maximum_length_received = self._max_pdu_bytes
        implementation.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        answer.user_information = [length, implementation, version]
        return A_ASSOCIATE_AC(answer).encode()


def _known_items(encoded: bytes) -> bytes:
    """The request with nothing but what is answered: items and sub-items of other types are ignored (PS3.8 9.3.1).

    Raises:
        struct.error, ValueError: an item breaks off.
    """
    body = encoded[_HEADER_BYTES:_FIXED_BYTES]
    for kind, content in _items(encoded[_FIXED_BYTES:]):
        if kind == _PRESENTATION_CONTEXT:
            kept = _kept(content[_CONTEXT_HEAD_BYTES:], _SYNTAXES)
            body += _item(kind, content[:_CONTEXT_HEAD_BYTES] + kept)
        elif kind == _USER_INFORMATION:
            body += _item(kind, _kept(content, _ANSWERED_USER_ITEMS))
        elif kind == _APPLICATION_CONTEXT:
            body += _item(kind, content)
    return struct.pack(">BBI", 0x01, 0, len(body)) + body


def _kept(encoded: bytes, kinds: frozenset[int]) -> bytes:
    return b"".join(_item(kind, content) for kind, content in _items(encoded) if kind in kinds)


def _items(encoded: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(encoded):
        kind, length = _ITEM.unpack_from(encoded, position)
        position += _ITEM.size
        content = encoded[position : position + length]
        if len(content) < length:
            raise ValueError("an item breaks off")
        yield kind, content
        position += length


def _item(kind: int, content: bytes) -> bytes:
    return _ITEM.pack(kind, len(content)) + content


_UNREADABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    TypeError,
    ValueError,
)
"""What pynetdicom's decoding raises on bytes that are no association request; it promises no error class of its own."""
