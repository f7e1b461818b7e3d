"""SIGKILL of the receiver while several associations send: what was acknowledged is there, byte for byte.

``LUNGSENTRY_KILLS`` sets how many kills (20 unless told).
"""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pytest
from held_reactor import held_reactor
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE

from db import Peer, Store, upgrade
from dicom_node.peers.reactor import is_open
from dicom_node.settings import Settings
from dicom_node.storage.archive import Archive

CT = "1.2.840.10008.5.1.4.1.1.2"
KILLS = int(os.environ.get("LUNGSENTRY_KILLS", "20"))
SENDERS = 3
SERIES_UIDS = [generate_uid() for _ in range(SENDERS)]
STUDY_UID = generate_uid()


@dataclass(slots=True)
class Acknowledged:
    """What senders got 0x0000 for: SOP Instance UID to pixel data."""

    pixels: dict[str, bytes] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def add(self, dataset: Dataset) -> None:
        """Take down what was answered with success."""
        with self.changed:
            self.pixels[dataset.SOPInstanceUID] = dataset.PixelData
            self.changed.notify_all()

    def wait_for(self, count: int) -> None:
        """Wait until that many were."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.pixels) >= count, 60)


def make_slice(series: str, number: int, rng: np.random.Generator) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = CT, generate_uid(), "CT"
    dataset.PatientID = "PHANTOM1"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY_UID, series
    dataset.InstanceNumber = number
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = 128
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    dataset.PixelData = rng.integers(0, 65536, (128, 128), dtype=np.uint16).tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


def send_until_cut_off(port: int, sender: int, seed: int, acknowledged: Acknowledged) -> None:
    """Send slices over one association until the other end is gone."""
    entity = AE("SCANNER")
    entity.acse_timeout = entity.network_timeout = 20
    entity.dimse_timeout = 2  # a cut connection does not wake pynetdicom's sender: this does
    entity.add_requested_context(CT, ExplicitVRLittleEndian)
    assoc = entity.associate("127.0.0.1", port, ae_title="LUNGSENTRY")
    connection = assoc.dul.socket.socket
    rng = np.random.default_rng(seed)
    number = 0
    with connection, held_reactor(assoc), contextlib.suppress(RuntimeError):  # raised when it ends between two looks
        while is_open(assoc):
            number += 1
            dataset = make_slice(SERIES_UIDS[sender], number, rng)
            status = assoc.send_c_store(dataset)
            if status and status.Status == 0x0000:
                acknowledged.add(dataset)


def start(settings: Settings) -> tuple[subprocess.Popen[str], int]:
    """The receiver in a process of its own, and its port; its log goes to a file beside its data."""
    log = settings.node.data_dir / "receiver.log"
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "dicom_node.node", "receiver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(settings.model_dump_json() + "\n")
    process.stdin.flush()
    ready = next((line for line in process.stdout if line.strip()), "")  # an empty line is a sign of life
    assert ready, f"the receiver did not start: {log.read_text()[-2000:]}"
    return process, json.loads(ready)["port"]


def end(process: subprocess.Popen[str], how: signal.Signals) -> int:
    """Send the signal, wait, and close the pipes; the exit status."""
    process.send_signal(how)
    status = process.wait(20)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    return status


def eventually(condition: Callable[[], object], what: str) -> None:
    ends = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < ends, f"did not happen: {what}"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.timeout(120 + 20 * KILLS)
def test_kill_in_mid_association_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """After every kill and a restart: each acknowledged instance is indexed and identical; nothing is left half done.

    Half done would be a temporary file, an association that counts as open, or a file without a row.
    """
    settings, alone = (
        Settings(
            node={"data_dir": tmp_path},
            receiver={"host": "127.0.0.1", "port": 0, "disk_watermark_bytes": 0, "processes": processes},
        )
        for processes in (2, 1)
    )
    upgrade(settings.database_url)
    store = Store.open(settings.database_url)
    store.peers.allow(Peer(ae_title="SCANNER", called_ae_title=None, cidr=None, host=None, port=None, role="scanner"))
    acknowledged = Acknowledged()
    moments = random.Random(20)
    cut_off: list[threading.Thread] = []  # pynetdicom takes seconds to notice; the next receiver need not wait

    for kill in range(KILLS):
        process, port = start(alone if kill % 2 else settings)
        senders = [
            threading.Thread(target=send_until_cut_off, args=(port, sender, kill * SENDERS + sender, acknowledged))
            for sender in range(SENDERS)
        ]
        for sender in senders:
            sender.start()
        acknowledged.wait_for(len(acknowledged.pixels) + moments.randint(1, 25))
        assert end(process, signal.SIGKILL) == -signal.SIGKILL
        cut_off += senders
    for sender in cut_off:
        sender.join(60)
        assert not sender.is_alive()

    process, _ = start(settings)
    try:
        archive = Archive(settings.archive_dir)
        eventually(lambda: len(_rows(store)) == len(list(settings.archive_dir.glob("??/*/*.dcm"))), "index rebuilt")
        eventually(lambda: not list(settings.archive_dir.glob("incoming/*/*.part*")), "entries forgotten")
        assert all(evidence.open_associations == 0 for evidence in store.intake.receiving_series())
        for uid, pixels in acknowledged.pixels.items():
            (version,) = store.intake.find_versions(uid)
            assert dcmread(archive.absolute(version.path)).PixelData == pixels
            assert archive.digest(version.path) == version.sha256
    finally:
        assert end(process, signal.SIGTERM) == 0
        store.close()


@pytest.mark.slow
def test_killed_child_is_replaced_and_loses_nothing(tmp_path: Path) -> None:
    """One process of the receiver dies, the port stays open: what it acknowledged gets its row, the next one serves."""
    settings = Settings(
        node={"data_dir": tmp_path},
        receiver={"host": "127.0.0.1", "port": 0, "disk_watermark_bytes": 0, "processes": 2},
    )
    upgrade(settings.database_url)
    store = Store.open(settings.database_url)
    store.peers.allow(Peer(ae_title="SCANNER", called_ae_title=None, cidr=None, host=None, port=None, role="scanner"))
    acknowledged = Acknowledged()
    process, port = start(settings)
    try:
        for kill in range(2):
            senders = [
                threading.Thread(target=send_until_cut_off, args=(port, sender, 100 + kill * 2 + sender, acknowledged))
                for sender in range(2)
            ]
            for sender in senders:
                sender.start()
            acknowledged.wait_for(len(acknowledged.pixels) + 10)
            children = psutil.Process(process.pid).children()
            assert len(children) == 2
            for child in children:
                child.kill()
            for sender in senders:
                sender.join(60)
                assert not sender.is_alive()
            eventually(lambda: len(psutil.Process(process.pid).children()) == 2, "children started again")
        eventually(lambda: set(_uids(store)) >= set(acknowledged.pixels), "every acknowledged instance indexed")
        eventually(lambda: not list(settings.archive_dir.glob("incoming/*/*.part")), "drafts removed")
        archive = Archive(settings.archive_dir)
        for uid, pixels in acknowledged.pixels.items():
            (version,) = store.intake.find_versions(uid)
            assert dcmread(archive.absolute(version.path)).PixelData == pixels
    finally:
        assert end(process, signal.SIGTERM) == 0
        store.close()


def test_children_end_with_their_parent(tmp_path: Path) -> None:
    """A parent that is killed leaves no process behind, and its port is free."""
    settings = Settings(
        node={"data_dir": tmp_path},
        receiver={"host": "127.0.0.1", "port": 0, "disk_watermark_bytes": 0, "processes": 2},
    )
    upgrade(settings.database_url)
    process, port = start(settings)
    children = psutil.Process(process.pid).children()
    assert len(children) == 2

    end(process, signal.SIGKILL)

    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))


def _uids(store: Store) -> list[str]:
    return [row.sop_instance_uid for series in SERIES_UIDS for row in store.intake.series_paths(series)]


def _rows(store: Store) -> list[object]:
    return [row for series in SERIES_UIDS for row in store.intake.series_paths(series)]
