"""A peer that is a plain socket: what goes over the wire is written down in the test."""

import socket
import struct
from collections.abc import Iterator
from typing import Any

from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
ABORT, RELEASE_RQ, RELEASE_RP, REJECT, ACCEPT, DATA = 7, 5, 6, 3, 2, 4
MAX_PDU = 16_384


def item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(content)) + content


def associate_request(called: str = "LUNGSENTRY", calling: str = "SCANNER", syntax: str = EXPLICIT) -> bytes:
    """An A-ASSOCIATE-RQ for CT storage in context 1 (PS3.8 section 9.3.2)."""
    context = bytes((1, 0, 0, 0)) + item(0x30, CT.encode()) + item(0x40, syntax.encode())
    user = item(0x51, struct.pack(">I", 131072)) + item(0x52, b"1.2.3.4")
    body = struct.pack(">HH16s16s32x", 1, 0, called.ljust(16).encode(), calling.ljust(16).encode())
    body += item(0x10, b"1.2.840.10008.3.1.1.1") + item(0x20, context) + item(0x50, user)
    return struct.pack(">BBI", 1, 0, len(body)) + body


def release_request() -> bytes:
    """An A-RELEASE-RQ (PS3.8 section 9.3.6)."""
    return struct.pack(">BBI4x", RELEASE_RQ, 0, 4)


def data_pdu(fragment: bytes, control: int, context_id: int = 1) -> bytes:
    value = struct.pack(">IBB", len(fragment) + 2, context_id, control) + fragment
    return struct.pack(">BBI", DATA, 0, len(value)) + value


def store_command(uid: str, sop_class: str = CT, message_id: int = 1) -> bytes:
    """A C-STORE request's command set (PS3.7 table 9.3-1)."""

    def element(number: int, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        return struct.pack("<HHI", 0, number, len(value)) + value

    elements = (
        element(0x0002, sop_class.encode())
        + element(0x0100, b"\x01\x00")
        + element(0x0110, struct.pack("<H", message_id))
        + element(0x0700, b"\x02\x00")
        + element(0x0800, b"\x00\x00")
        + element(0x1000, uid.encode())
    )
    return struct.pack("<HHII", 0, 0, 4, len(elements)) + elements


def encode(dataset: Any) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def fragments(encoded: bytes, size: int = MAX_PDU - 6) -> Iterator[bytes]:
    for start in range(0, len(encoded), size):
        yield data_pdu(encoded[start : start + size], 2 if start + size >= len(encoded) else 0)


class RawPeer:
    """A socket that says what it is told to, and calls from an address of this machine."""

    def __init__(self, port: int, *, address: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 10, source_address=(address, 0))
        self.socket.settimeout(10)

    def read_pdu(self) -> tuple[int, bytes] | None:
        """The next PDU's type and content; None at the end of the connection."""
        head = self._read(6)
        if head is None:
            return None
        content = self._read(struct.unpack(">I", head[2:])[0])
        return None if content is None else (head[0], content)

    def associate(self, **names: str) -> int:
        """Ask; the type of the answer."""
        self.socket.sendall(associate_request(**names))
        answer = self.read_pdu()
        assert answer is not None
        return answer[0]

    def status(self) -> int:
        """The status of the C-STORE response that comes."""
        answer = self.read_pdu()
        assert answer is not None
        assert answer[0] == DATA
        position = answer[1].index(struct.pack("<HHI", 0, 0x0900, 2))
        return struct.unpack_from("<H", answer[1], position + 8)[0]

    def is_closed(self) -> bool:
        """The other end says nothing more, and closes."""
        while (pdu := self.read_pdu()) is not None:
            assert pdu[0] in {ABORT, REJECT}
        return True

    def _read(self, count: int) -> bytes | None:
        data = b""
        while len(data) < count:
            try:
                part = self.socket.recv(count - len(data))
            except ConnectionError:
                return None
            if not part:
                return None
            data += part
        return data
