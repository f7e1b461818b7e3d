"""Bytes made up by hypothesis, sent to a running receiver: no crash, no hang, no growth, no file outside the store.

``LUNGSENTRY_FUZZ`` sets how many examples each property gets (30 unless told: half a minute in all).
"""

import contextlib
import os
import random
import socket
import struct
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import config as pydicom_config

from db import upgrade
from dicom_node.node import run_receiver
from dicom_node.settings import Settings

EXAMPLES = int(os.environ.get("LUNGSENTRY_FUZZ", "30"))
CT = "1.2.840.10008.5.1.4.1.1.2"
SYNTAXES = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"]
GROWTH_BYTES = 64 << 20
KNOWN_STATUSES = {0x0000, 0xA700, 0xA900, 0xC210}
BOUNDED = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@dataclass(frozen=True, slots=True)
class Target:
    """The receiver that is shot at."""

    port: int
    folder: Path
    resident_bytes: int


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A receiver in this process, with short deadlines; at the end it is alive, small, and wrote where it may."""
    folder = tmp_path_factory.mktemp("fuzz")
    node = Settings(
        node={"data_dir": folder / "node"},
        receiver={
            "host": "127.0.0.1",
            "port": 0,
            "disk_watermark_bytes": 0,
            "processes": 1,
            "accept_unknown_peers": True,
            "acse_timeout_s": 2,
            "pdu_timeout_s": 2,
            "network_timeout_s": 2,
            "max_instance_bytes": 4 << 20,
        },
    )
    (folder / "node").mkdir()
    upgrade(node.database_url)
    mode = pydicom_config.settings.reading_validation_mode
    ports: list[int] = []
    ready, stop = threading.Event(), threading.Event()
    thread = threading.Thread(
        target=run_receiver,
        args=(node,),
        kwargs={"ready": lambda port: (ports.append(port), ready.set()), "stop": stop},
    )
    thread.start()
    assert ready.wait(20)
    yield Target(ports[0], folder, psutil.Process().memory_info().rss)
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
    pydicom_config.settings.reading_validation_mode = mode


def item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(content)) + content


def associate_request(syntax: str) -> bytes:
    context = bytes((1, 0, 0, 0)) + item(0x30, CT.encode()) + item(0x40, syntax.encode())
    user = item(0x51, struct.pack(">I", 131072)) + item(0x52, b"1.2.3.4")
    body = struct.pack(">HH16s16s32x", 1, 0, b"LUNGSENTRY      ", b"FUZZER          ")
    body += item(0x10, b"1.2.840.10008.3.1.1.1") + item(0x20, context) + item(0x50, user)
    return struct.pack(">BBI", 1, 0, len(body)) + body


def data_pdu(fragment: bytes, control: int) -> bytes:
    value = struct.pack(">IBB", len(fragment) + 2, 1, control) + fragment
    return struct.pack(">BBI", 4, 0, len(value)) + value


def command(uid: bytes, sop_class: bytes = CT.encode()) -> bytes:
    def element(number: int, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        return struct.pack("<HHI", 0, number, len(value)) + value

    return (
        element(0x0002, sop_class)
        + element(0x0100, b"\1\0")
        + element(0x0110, b"\1\0")
        + element(0x0800, b"\0\0")
        + element(0x1000, uid)
    )


def talk(target: Target, *said: bytes) -> bytes:
    """Say it all, read until the other end closes or is silent for longer than its deadlines; what was heard."""
    heard = b""
    with socket.create_connection(("127.0.0.1", target.port), 10) as peer:
        peer.settimeout(10)
        with contextlib.suppress(ConnectionError):
            for part in said:
                peer.sendall(part)
            peer.shutdown(socket.SHUT_WR)
            while part := peer.recv(65536):
                heard += part
    return heard


def statuses(heard: bytes) -> list[int]:
    """The status of each C-STORE response in what was heard."""
    mark = struct.pack("<HHI", 0, 0x0900, 2)
    return [
        struct.unpack_from("<H", heard, position + 8)[0]
        for position in range(len(heard) - 9)
        if heard.startswith(mark, position)
    ]


def check(target: Target) -> None:
    """The receiver answers, has not grown, and nothing of it lies elsewhere."""
    assert talk(target, associate_request(SYNTAXES[1]))[:1] == b"\2"
    assert psutil.Process().memory_info().rss - target.resident_bytes < GROWTH_BYTES
    assert {entry.name for entry in target.folder.iterdir()} == {"node"}
    assert {entry.name.partition(".")[0] for entry in (target.folder / "node").iterdir()} <= {"archive", "lungsentry"}
    for entry in (target.folder / "node" / "archive").iterdir():
        assert entry.name == "incoming" or len(entry.name) == 2


@BOUNDED
@given(data=st.binary(max_size=2000), kept=st.integers(0, 250))
def test_any_bytes_instead_of_a_request(target: Target, data: bytes, kept: int) -> None:
    """Random bytes, or a request that goes wrong at some point."""
    talk(target, associate_request(SYNTAXES[1])[:kept] + data)
    check(target)


@BOUNDED
@given(pdus=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1 << 18), st.binary(max_size=300)), max_size=6))
def test_any_pdus_on_an_association(target: Target, pdus: list[tuple[int, int, bytes]]) -> None:
    """PDUs of any type with any length, true or not."""
    talk(
        target,
        associate_request(SYNTAXES[1]),
        *(struct.pack(">BBI", kind, 0, size) + body for kind, size, body in pdus),
    )
    check(target)


@BOUNDED
@given(uid=st.binary(max_size=200), sop_class=st.binary(max_size=80), data=st.binary(max_size=400))
def test_any_command_set(target: Target, uid: bytes, sop_class: bytes, data: bytes) -> None:
    """Commands with any UIDs, followed by any bytes, are refused or aborted: none of them is a whole instance."""
    heard = talk(
        target, associate_request(SYNTAXES[1]), data_pdu(command(uid, sop_class or CT.encode()), 3), data_pdu(data, 2)
    )
    assert set(statuses(heard)) <= KNOWN_STATUSES - {0x0000}
    check(target)


@BOUNDED
@given(
    syntax=st.sampled_from(SYNTAXES),
    elements=st.lists(
        st.tuples(
            st.sampled_from([0x0008, 0x0010, 0x0018, 0x0020, 0x0028, 0x7FE0, 0xFFFE]),
            st.integers(0, 0xFFFF),
            st.sampled_from([b"UI", b"SQ", b"OB", b"OW", b"UN", b"LO", b"US", b"??"]),
            st.sampled_from([None, 0, 2, 8, 0xFFFF, 0xFFFFFFFF]),
            st.binary(max_size=40),
        ),
        max_size=12,
    ),
    seed=st.integers(0, 1 << 16),
)
def test_any_dataset(
    target: Target, syntax: str, elements: list[tuple[int, int, bytes, int | None, bytes]], seed: int
) -> None:
    """Data sets that look like some, in every native syntax and cut up at random, are refused with a known status."""
    order = ">" if syntax == SYNTAXES[3] else "<"
    encoded = b""
    for group, number, vr, length, value in elements:
        claimed = len(value) if length is None else length
        encoded += struct.pack(order + "HH", group, number)
        if syntax == SYNTAXES[0]:
            encoded += struct.pack("<I", claimed)
        elif vr in {b"UI", b"LO", b"US"}:
            encoded += vr + struct.pack(order + "H", claimed & 0xFFFF)
        else:
            encoded += vr + b"\0\0" + struct.pack(order + "I", claimed)
        encoded += value
    if syntax == SYNTAXES[2]:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        encoded = deflater.compress(encoded) + deflater.flush()
    cut = random.Random(seed).randint(0, len(encoded))
    heard = talk(
        target,
        associate_request(syntax),
        data_pdu(command(b"1.2.3"), 3),
        data_pdu(encoded[:cut], 0),
        data_pdu(encoded[cut:], 2),
    )
    assert len(statuses(heard)) == 1
    assert set(statuses(heard)) <= KNOWN_STATUSES - {0x0000}
    check(target)
