"""A receiver that runs in this process, and peers that send to it."""

import contextlib
import io
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import config as pydicom_config
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from raw_peer import RawPeer

from db import Peer, Store, upgrade
from dicom_node.node import run_receiver
from dicom_node.settings import Settings

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"


@dataclass(slots=True, kw_only=True)
class Receiver:
    """A running receiver."""

    settings: Settings
    store: Store
    port: int
    _stop: threading.Event
    _thread: threading.Thread

    def archived(self) -> list[Path]:
        """Every file under a final name."""
        return sorted(path for path in self.settings.archive_dir.glob("??/*/*") if path.is_file())

    def temporary(self) -> list[Path]:
        """Every file that is being written: it has no final name."""
        return [entry for entry in self.unindexed() if entry.stat().st_nlink == 1]

    def unindexed(self) -> list[Path]:
        """Every file that is being written, or has no row."""
        return sorted((self.settings.archive_dir / "incoming").glob("*/*.part*"))

    def stop(self) -> float:
        """Stop it, wait for its end; the seconds that took."""
        started = time.monotonic()
        self._stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive()
        return time.monotonic() - started


@pytest.fixture
def start_receiver(tmp_path: Path) -> Iterator[Callable[..., Receiver]]:
    """Start a receiver on SQLite and a free port; its peer is SCANNER unless the settings say otherwise."""
    running: list[Receiver] = []

    def start(folder: Path = tmp_path, **receiver: Any) -> Receiver:
        settings = Settings(
            node={"data_dir": folder},
            receiver={"host": "127.0.0.1", "port": 0, "disk_watermark_bytes": 0, "processes": 1, **receiver},
        )
        upgrade(settings.database_url)
        store = Store.open(settings.database_url)
        if not store.peers.list():
            store.peers.allow(
                Peer(ae_title="SCANNER", called_ae_title=None, cidr="127.0.0.0/8", host=None, port=None, role="scanner")
            )
        ready, stop, ports = threading.Event(), threading.Event(), []
        thread = threading.Thread(
            target=run_receiver,
            args=(settings,),
            kwargs={"ready": lambda port: (ports.append(port), ready.set()), "stop": stop},
        )
        thread.start()
        assert ready.wait(20)
        receiver_ = Receiver(settings=settings, store=store, port=ports[0], _stop=stop, _thread=thread)
        running.append(receiver_)
        return receiver_

    mode = pydicom_config.settings.reading_validation_mode
    yield start
    for receiver in running:
        receiver.stop()
        receiver.store.close()
    pydicom_config.settings.reading_validation_mode = mode


@pytest.fixture
def connect() -> Iterator[Callable[..., RawPeer]]:
    """Connect raw peers, which the test need not close."""
    with contextlib.ExitStack() as stack:

        def make(receiver: Any) -> RawPeer:
            peer = RawPeer(receiver.port)
            stack.callback(peer.socket.close)
            return peer

        yield make


@pytest.fixture(scope="session")
def make_slice() -> Callable[..., Dataset]:
    """Build a CT slice of 64 by 64 with made-up identity; keyword arguments override attributes, None removes."""

    def make(**attributes: Any) -> Dataset:
        dataset = Dataset()
        dataset.SOPClassUID = CT
        dataset.SOPInstanceUID = generate_uid()
        dataset.Modality = "CT"
        dataset.PatientName = "Phantom^One"
        dataset.PatientID = "PHANTOM1"
        dataset.StudyInstanceUID = generate_uid()
        dataset.SeriesInstanceUID = generate_uid()
        dataset.InstanceNumber = 1
        dataset.ImagePositionPatient = [0, 0, 10]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.SamplesPerPixel = 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.Rows = dataset.Columns = 64
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
        pixels = np.random.default_rng(7).integers(0, 4096, (64, 64), dtype=np.uint16)
        dataset.PixelData = pixels.tobytes()
        dataset["PixelData"].VR = "OW"
        for keyword, value in attributes.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)
        return dataset

    return make


@pytest.fixture(scope="session")
def associate() -> Callable[..., Association]:
    """Ask a receiver for an association."""

    def ask(
        receiver: Receiver,
        sop_class: str = CT,
        syntaxes: tuple[str, ...] = (EXPLICIT,),
        *,
        calling: str = "SCANNER",
        called: str = "LUNGSENTRY",
    ) -> Association:
        entity = AE(calling)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
        for syntax in syntaxes:
            entity.add_requested_context(sop_class, syntax)
        return entity.associate("127.0.0.1", receiver.port, ae_title=called)

    return ask


@pytest.fixture(scope="session")
def send() -> Callable[..., int | None]:
    """Send encoded bytes under a command that says what the test wants; the reply's status, None without reply."""

    def send_encoded(
        assoc: Association, encoded: bytes | None, *, sop_instance_uid: str, sop_class_uid: str = CT
    ) -> int | None:
        request = C_STORE()
        request.MessageID = 1
        request.AffectedSOPClassUID = sop_class_uid
        request.AffectedSOPInstanceUID = sop_instance_uid
        request.Priority = 2
        if encoded is not None:
            request.DataSet = io.BytesIO(encoded)
        assoc._reactor_checkpoint.clear()
        while not assoc._is_paused:
            time.sleep(0.001)
        try:
            assoc.dimse.send_msg(request, assoc.accepted_contexts[0].context_id)
            _, reply = assoc.dimse.get_msg(block=True)
        finally:
            assoc._reactor_checkpoint.set()
        return None if reply is None else reply.Status

    return send_encoded


@pytest.fixture(scope="session")
def dataset_bytes() -> Callable[[Path], bytes]:
    """The data set's bytes of a DICOM file: what follows its file meta."""

    def read(path: Path) -> bytes:
        length = dcmread(path, stop_before_pixels=True).file_meta.FileMetaInformationGroupLength
        return path.read_bytes()[128 + 4 + 12 + length :]

    return read


@pytest.fixture(scope="session")
def eventually() -> Callable[..., None]:
    """Wait until a condition holds; fail with its name after the deadline."""

    def wait(condition: Callable[[], object], what: str, deadline_s: float = 20) -> None:
        ends = time.monotonic() + deadline_s
        while not condition():
            assert time.monotonic() < ends, f"did not happen: {what}"
            time.sleep(0.01)

    return wait


@pytest.fixture(scope="session")
def dcmtk() -> Callable[[str], str]:
    """The path of a dcmtk program; without it the test skips and says so."""

    def find(program: str) -> str:
        path = shutil.which(program)
        if path is None:
            pytest.skip(f"{program} is not installed (Debian package dcmtk)")
        return path

    return find
