"""SIGTERM within a data set, and a small disk: what is in flight is finished, and the node goes on or ends quickly."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import node_harness as harness
import pydicom
import pytest
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from raw_sender import ABORTED, RawSender

from db import Store
from dicom_node.settings import Settings
from dicom_node.storage.disk_space import LOW_FACTOR

pytestmark = pytest.mark.slow

SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700
WATERMARK_BYTES = 2 << 20
DISK_BYTES = 16 << 20


def encoded(path: Path) -> tuple[str, bytes]:
    """The SOP Instance UID of a file, and its data set as it goes over the wire."""
    dataset = pydicom.dcmread(path)
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    del dataset.file_meta
    write_dataset(buffer, dataset)
    return str(dataset.SOPInstanceUID), buffer.getvalue()


def test_sigterm_finishes_the_instance_in_flight_and_takes_nothing_new(tmp_path: Path) -> None:
    """Half a data set before the signal, half after: 0x0000, then A-ABORT. No newcomer, and a quick end."""
    settings = harness.quick_settings(tmp_path / "node")
    uid, data = encoded(harness.write_ct(tmp_path / "ct", slices=1)[0])
    with harness.running_node(settings) as (node, port), closing(RawSender(port)) as sender:
        sender.begin(uid, data[: len(data) // 2])
        harness.wait_until(lambda: _incoming(settings), what="the first half on disk")
        node.send_signal(signal.SIGTERM)
        harness.wait_until(lambda: not _is_listening(port), what="the end of listening")
        assert sender.finish(data[len(data) // 2 :]) == SUCCESS
        assert sender.read_pdu()[0] == ABORTED
        assert node.wait(60) == 0
    told = harness.log_of(settings)
    assert "process.killed" not in told  # it ended by itself, within the time that the supervisor gives
    assert "process.overdue" not in told
    with Store.open(settings.database_url) as store:
        (version,) = store.intake.find_versions(uid)
        assert (settings.archive_dir / version.path).read_bytes().endswith(data)
        assert store.status().open_associations == 0
    assert not _incoming(settings)


def _incoming(settings: Settings) -> list[Path]:
    return list(settings.archive_dir.glob("incoming/*/*.part"))


def _is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB; it takes root to make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a tmpfs can only be mounted by root")
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this system does not let a tmpfs be mounted")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def _told(settings: Settings, room: str) -> bool:
    return f'"room": "{room}"' in harness.log_of(settings)


def test_disk_that_fills_is_told_of_refuses_and_resumes_by_itself(tmp_path: Path, small_disk: Path) -> None:
    """Low: a warning, and instances are taken. Below the watermark: 0xA700. Room again: taken, without a restart."""
    data = tmp_path / "node"
    data.mkdir()
    (data / "archive").symlink_to(small_disk, target_is_directory=True)
    settings = harness.quick_settings(data)
    receiver = settings.receiver.model_copy(update={"disk_watermark_bytes": WATERMARK_BYTES})
    settings = settings.model_copy(update={"receiver": receiver})
    first, second, third, fourth = harness.write_ct(tmp_path / "ct", slices=4)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(DISK_BYTES - LOW_FACTOR * WATERMARK_BYTES + (1 << 20)))
    with harness.running_node(settings) as (_node, port):
        harness.wait_until(lambda: _told(settings, "low"), what="the warning")
        assert harness.send([first], port) == [SUCCESS]
        ballast.write_bytes(bytes(DISK_BYTES - WATERMARK_BYTES + (1 << 18)))
        assert harness.send([second], port) == [OUT_OF_RESOURCES]
        harness.wait_until(lambda: _told(settings, "full"), what="the error")
        ballast.unlink()
        assert harness.send([second, third, fourth], port) == [SUCCESS] * 3
    with Store.open(settings.database_url) as store:
        stored = store.intake.series_paths(harness.series_uid([first]))
        kept = {one.sop_instance_uid: pydicom.dcmread(settings.archive_dir / one.path) for one in stored}
    assert kept == {sent.SOPInstanceUID: sent for sent in map(pydicom.dcmread, (first, second, third, fourth))}
