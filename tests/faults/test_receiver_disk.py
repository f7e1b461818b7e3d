"""Disks and databases that fail while instances come: refused with 0xA700, nothing half kept, and on it goes after."""

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import config as pydicom_config
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import generate_uid

from db import Store, upgrade
from dicom_node.node import run_receiver
from dicom_node.settings import Settings

CT = "1.2.840.10008.5.1.4.1.1.2"
SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700
TMPFS_BYTES = 6 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB; it takes root to make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a tmpfs can only be mounted by root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES}", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this system does not let a tmpfs be mounted")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., tuple[Settings, int]]]:
    """Start receivers whose archive lies on a disk of the test's choice."""
    ends: list[tuple[threading.Event, threading.Thread]] = []

    def run(disk: Path, data: Path = tmp_path / "node", **receiver: Any) -> tuple[Settings, int]:
        data.mkdir(exist_ok=True)
        (data / "archive").symlink_to(disk, target_is_directory=True)
        settings = Settings(
            node={"data_dir": data},
            receiver={
                "host": "127.0.0.1",
                "port": 0,
                "processes": 1,
                "disk_watermark_bytes": 0,
                "accept_unknown_peers": True,
                **receiver,
            },
        )
        upgrade(settings.database_url)
        ports: list[int] = []
        ready, stop = threading.Event(), threading.Event()
        thread = threading.Thread(
            target=run_receiver,
            args=(settings,),
            kwargs={"ready": lambda port: (ports.append(port), ready.set()), "stop": stop},
        )
        thread.start()
        ends.append((stop, thread))
        assert ready.wait(20)
        return settings, ports[0]

    mode = pydicom_config.settings.reading_validation_mode
    yield run
    for stop, thread in ends:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()
    pydicom_config.settings.reading_validation_mode = mode


def make_slice(side: int = 512) -> tuple[str, bytes]:
    """A slice of half a mebibyte; its SOP Instance UID and its bytes."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality, dataset.PatientID = CT, generate_uid(), "CT", "P"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    dataset.SamplesPerPixel, dataset.Rows, dataset.Columns, dataset.BitsAllocated = 1, side, side, 16
    dataset.PixelData = np.random.default_rng(1).integers(0, 4096, (side, side), dtype=np.uint16).tobytes()
    dataset["PixelData"].VR = "OW"
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, dataset)
    return dataset.SOPInstanceUID, buffer.getvalue()


class Sender:
    """A peer with one association, that sends instances and tells their statuses."""

    def __init__(self, port: int) -> None:
        def item(kind: int, content: bytes) -> bytes:
            return struct.pack(">BBH", kind, 0, len(content)) + content

        context = bytes((1, 0, 0, 0)) + item(0x30, CT.encode()) + item(0x40, b"1.2.840.10008.1.2.1")
        user = item(0x51, struct.pack(">I", 131072)) + item(0x52, b"1.2.3.4")
        body = struct.pack(">HH16s16s32x", 1, 0, b"LUNGSENTRY      ", b"SCANNER         ")
        body += item(0x10, b"1.2.840.10008.3.1.1.1") + item(0x20, context) + item(0x50, user)
        self.socket = socket.create_connection(("127.0.0.1", port), 20)
        self.socket.sendall(struct.pack(">BBI", 1, 0, len(body)) + body)
        assert self._pdu()[0] == 2

    def send(self, uid: str, encoded: bytes) -> int:
        def element(number: int, value: bytes) -> bytes:
            value += b"\0" * (len(value) % 2)
            return struct.pack("<HHI", 0, number, len(value)) + value

        command = element(2, CT.encode()) + element(0x100, b"\1\0") + element(0x110, b"\1\0")
        command += element(0x800, b"\0\0") + element(0x1000, uid.encode())
        self.socket.sendall(_pdv(command, 3))
        for start in range(0, len(encoded), 100_000):
            self.socket.sendall(_pdv(encoded[start : start + 100_000], 2 if start + 100_000 >= len(encoded) else 0))
        kind, content = self._pdu()
        assert kind == 4
        position = content.index(struct.pack("<HHI", 0, 0x0900, 2))
        return struct.unpack_from("<H", content, position + 8)[0]

    def close(self) -> None:
        """Release, and wait for the answer: then everything is indexed."""
        self.socket.sendall(struct.pack(">BBI", 5, 0, 4) + bytes(4))
        assert self._pdu()[0] == 6
        self.socket.close()

    def _pdu(self) -> tuple[int, bytes]:
        head = self._read(6)
        return head[0], self._read(struct.unpack(">I", head[2:])[0])

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            assert part
            data += part
        return data


def _pdv(fragment: bytes, control: int) -> bytes:
    value = struct.pack(">IBB", len(fragment) + 2, 1, control) + fragment
    return struct.pack(">BBI", 4, 0, len(value)) + value


def check_archive(settings: Settings, accepted: dict[str, bytes]) -> None:
    """Just what was acknowledged is there, byte for byte, in files and rows, and nothing temporary."""
    files = sorted(settings.archive_dir.glob("??/*/*.dcm"))
    assert list(settings.archive_dir.glob("incoming/*/*.part")) == []
    assert len(files) == len(accepted)
    store = Store.open(settings.database_url)
    try:
        for uid, encoded in accepted.items():
            (version,) = store.intake.find_versions(uid)
            assert (settings.archive_dir / version.path).read_bytes().endswith(encoded)
    finally:
        store.close()


def test_full_disk(small_disk: Path, start: Callable[..., tuple[Settings, int]]) -> None:
    """A disk that fills in the middle of an instance: 0xA700 for it, the earlier ones whole; with room it goes on."""
    settings, port = start(small_disk)
    sender, accepted, statuses = Sender(port), {}, []
    while OUT_OF_RESOURCES not in statuses:
        uid, encoded = make_slice()
        statuses.append(sender.send(uid, encoded))
        if statuses[-1] == SUCCESS:
            accepted[uid] = encoded
        assert len(statuses) < 20
    assert set(statuses) == {SUCCESS, OUT_OF_RESOURCES}
    assert sender.send(*make_slice()) == OUT_OF_RESOURCES

    subprocess.run(["mount", "-o", f"remount,size={2 * TMPFS_BYTES}", str(small_disk)], check=True)
    uid, encoded = make_slice()

    assert sender.send(uid, encoded) == SUCCESS
    sender.close()
    check_archive(settings, accepted | {uid: encoded})


def test_watermark_refuses_and_resumes(small_disk: Path, start: Callable[..., tuple[Settings, int]]) -> None:
    """Below the watermark the reply is 0xA700 though there is room; above it again, instances are taken."""
    settings, port = start(small_disk, disk_watermark_bytes=4 << 20)
    ballast = small_disk / "ballast"
    sender = Sender(port)
    ballast.write_bytes(bytes(3 << 20))
    assert sender.send(*make_slice()) == OUT_OF_RESOURCES

    ballast.unlink()
    uid, encoded = make_slice()

    assert sender.send(uid, encoded) == SUCCESS
    sender.close()
    check_archive(settings, {uid: encoded})


@contextlib.contextmanager
def _read_only(disk: Path) -> Iterator[None]:
    """Nothing can be created there meanwhile, as on a file system that met an error; open files stay open."""
    subprocess.run(["mount", "--bind", str(disk), str(disk)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(disk)], check=True)
        yield
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_read_only_disk(small_disk: Path, start: Callable[..., tuple[Settings, int]]) -> None:
    """A disk that turned read-only is refused with 0xA700; when it can be written again the association goes on."""
    settings, port = start(small_disk)
    sender = Sender(port)
    first = make_slice()
    assert sender.send(*first) == SUCCESS
    with _read_only(small_disk):
        assert sender.send(*make_slice()) == OUT_OF_RESOURCES

    second = make_slice()

    assert sender.send(*second) == SUCCESS
    sender.close()
    check_archive(settings, dict([first, second]))


def test_database_gone_and_back(tmp_path: Path, small_disk: Path, start: Callable[..., tuple[Settings, int]]) -> None:
    """While the index cannot be written new instances get 0xA700, and acknowledged ones wait; back, all are indexed."""
    disk = tmp_path / "archive"
    disk.mkdir()
    settings, port = start(disk, data=small_disk)
    sender = Sender(port)
    accepted: dict[str, bytes] = {}
    statuses: list[int] = []

    def send() -> int:
        uid, encoded = make_slice(64)
        statuses.append(sender.send(uid, encoded))
        if statuses[-1] == SUCCESS:
            accepted[uid] = encoded
        return statuses[-1]

    assert send() == SUCCESS
    ballast = small_disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    while send() == SUCCESS:
        assert len(statuses) < 5000
    assert statuses[-1] == OUT_OF_RESOURCES
    ballast.unlink()
    while send() != SUCCESS:
        assert len(statuses) < 50_000
    sender.close()

    check_archive(settings, accepted)
