"""A peer that writes its own PDUs, so that it can stop wherever the test wants: CT, Explicit VR Little Endian."""

import socket
import struct

CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
ABORTED = 7
_PIECE = 16_000


class RawSender:
    """One association."""

    def __init__(self, port: int, *, host: str = "127.0.0.1") -> None:
        context = bytes((1, 0, 0, 0)) + _item(0x30, CT.encode()) + _item(0x40, EXPLICIT.encode())
        user = _item(0x51, struct.pack(">I", 131_072)) + _item(0x52, b"1.2.3.4")
        body = struct.pack(">HH16s16s32x", 1, 0, b"LUNGSENTRY      ", b"SCANNER         ")
        body += _item(0x10, b"1.2.840.10008.3.1.1.1") + _item(0x20, context) + _item(0x50, user)
        self._socket = socket.create_connection((host, port), 30)
        self._socket.sendall(struct.pack(">BBI", 1, 0, len(body)) + body)
        assert self.read_pdu()[0] == 2

    def begin(self, sop_instance_uid: str, head: bytes) -> None:
        """A C-STORE request, and the first bytes of its data set."""
        command = _element(2, CT.encode()) + _element(0x100, b"\1\0") + _element(0x110, b"\1\0")
        command += _element(0x800, b"\0\0") + _element(0x1000, sop_instance_uid.encode())
        self._socket.sendall(_pdv(command, 3))
        for start in range(0, len(head), _PIECE):
            self._socket.sendall(_pdv(head[start : start + _PIECE], 0))

    def finish(self, tail: bytes) -> int:
        """The last bytes of the data set; the status of the reply."""
        self._socket.sendall(_pdv(tail, 2))
        kind, content = self.read_pdu()
        assert kind == 4
        return struct.unpack_from("<H", content, content.index(struct.pack("<HHI", 0, 0x0900, 2)) + 8)[0]

    def read_pdu(self) -> tuple[int, bytes]:
        """The type of the next PDU, and its content."""
        head = self._read(6)
        return head[0], self._read(struct.unpack(">I", head[2:])[0])

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self._socket.recv(count - len(data))
            assert part, "the peer hung up"
            data += part
        return data


def _item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(content)) + content


def _element(number: int, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHI", 0, number, len(value)) + value


def _pdv(fragment: bytes, control: int) -> bytes:
    value = struct.pack(">IBB", len(fragment) + 2, 1, control) + fragment
    return struct.pack(">BBI", 4, 0, len(value)) + value
