"""Fetching from a real PACS: Orthanc, asked by C-FIND, pulled from by C-GET and told to send by C-MOVE."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pytest
from listeners import free_port
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, JPEGLSLossless, RLELossless
from typer.testing import CliRunner

from db import Peer, Store
from dicom_node.cli.app import app
from dicom_node.peers.errors import Unreachable
from dicom_node.peers.remote import Remote
from dicom_node.retrieval import (
    Criteria,
    Fetched,
    Method,
    Outcome,
    archiving,
    fetch,
    find_series,
)
from dicom_node.settings import Settings
from dicom_node.simulator import send_files
from dicom_node.storage.archive import Archive

pytestmark = [
    pytest.mark.usefixtures("dropped_sockets"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

STUDY = "1.2.826.0.1.3680043.8.498.1"
RLE_SERIES, LS_SERIES, ENHANCED_SERIES, MR_SERIES = (f"{STUDY}.{number}" for number in range(1, 5))


def make_instance(series: str, number: int, *, modality: str = "CT", sop_class: str = CTImageStorage) -> Dataset:
    """A CT slice of 32 by 32, or with Enhanced CT two frames of it; its identity is made up."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, f"{series}.{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY, series
    dataset.StudyDate, dataset.StudyTime, dataset.Modality = "20260115", "101500", modality
    dataset.PatientName, dataset.PatientID, dataset.AccessionNumber = "Phantom^Two", "PHANTOM2", "A2"
    dataset.SeriesDescription, dataset.InstanceNumber = "Thorax", number
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, number], [1, 0, 0, 0, 1, 0]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = 32
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    frames = 2 if sop_class == EnhancedCTImageStorage else 1
    if frames > 1:
        dataset.NumberOfFrames = frames
    pixels = np.random.default_rng(number).integers(0, 4096, (frames, 32, 32), dtype=np.uint16)
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacs:
    """A running Orthanc, what it was given, and the port at which it believes the node to be."""

    port: int
    node_port: int
    given: dict[str, Dataset]

    @property
    def peer(self) -> Remote:
        """As the node calls it."""
        return Remote(ae_title="PACS", host="127.0.0.1", port=self.port, calling_ae_title="LUNGSENTRY", timeout_s=20)


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory, orthanc: Callable[..., Any]) -> Iterator[Pacs]:
    """Orthanc with a study: CT in RLE and in JPEG-LS, an Enhanced CT, and an MR."""
    folder = tmp_path_factory.mktemp("orthanc")
    port, node_port = free_port(), free_port()
    given: dict[str, Dataset] = {}
    for series, syntax, sop_class, modality, count in (
        (RLE_SERIES, RLELossless, CTImageStorage, "CT", 4),
        (LS_SERIES, JPEGLSLossless, CTImageStorage, "CT", 3),
        (ENHANCED_SERIES, None, EnhancedCTImageStorage, "CT", 1),
        (MR_SERIES, None, CTImageStorage, "MR", 1),
    ):
        for number in range(1, count + 1):
            dataset = make_instance(series, number, modality=modality, sop_class=sop_class)
            if syntax is not None:
                dataset.compress(syntax, generate_instance_uid=False)
            path = folder / f"{dataset.SOPInstanceUID}.dcm"
            dataset.save_as(path, enforce_file_format=True)
            given[dataset.SOPInstanceUID] = dataset
    known = {"node": {"AET": "LUNGSENTRY", "Host": "127.0.0.1", "Port": node_port}}
    allowed = {f"DicomAlwaysAllow{service}": True for service in ("Find", "Get", "Move")}
    with orthanc(folder, port, DicomModalities=known, SynchronousCMove=True, **allowed):
        report = send_files(
            sorted(folder.glob("*.dcm")), host="127.0.0.1", port=port, called_ae_title="PACS", timeout_s=20
        )
        assert report.ok, report.not_stored
        yield Pacs(port=port, node_port=node_port, given=given)


def run_fetch(pacs: Pacs, settings: Settings, store: Store, method: Method = Method.GET) -> dict[str, Fetched]:
    found = find_series(pacs.peer, Criteria(study_instance_uid=STUDY))
    chosen = [one for one in found if one.modality == "CT"]
    fetched = fetch(
        pacs.peer,
        chosen,
        method=method,
        store=store,
        archiving=lambda: archiving(
            settings.receiver, settings.node.ae_title, store, Archive(settings.archive_dir), pacs.peer
        ),
        max_instance_bytes=settings.receiver.max_instance_bytes,
        on_progress=lambda *_: None,
    )
    return {one.series.series_instance_uid: one for one in fetched}


def test_find_tells_what_there_is(pacs: Pacs) -> None:
    """By UID, patient and range of dates: every series of the study with its modality and its count of instances."""
    for criteria in (
        Criteria(study_instance_uid=STUDY),
        Criteria(patient_id="PHANTOM2"),
        Criteria(since=date(2026, 1, 1), until=date(2026, 1, 31)),
    ):
        found = {one.series_instance_uid: one for one in find_series(pacs.peer, criteria)}
        assert {uid: one.instance_count for uid, one in found.items()} == {
            RLE_SERIES: 4,
            LS_SERIES: 3,
            ENHANCED_SERIES: 1,
            MR_SERIES: 1,
        }
        assert {found[uid].modality for uid in (RLE_SERIES, MR_SERIES)} == {"CT", "MR"}
    assert not find_series(pacs.peer, Criteria(since=date(2026, 2, 1)))


def assert_archived_as_given(pacs: Pacs, store: Store, archive: Archive, *series: str) -> None:
    """The archive holds each instance of the series in its own transfer syntax, pixel data to the byte."""
    for uid, dataset in pacs.given.items():
        if dataset.SeriesInstanceUID in series:
            (version,) = store.intake.find_versions(uid)
            assert version.transfer_syntax_uid == dataset.file_meta.TransferSyntaxUID
            assert dataset.PixelData.rstrip(b"\0") in archive.absolute(version.path).read_bytes()


def test_get_archives_durably_in_the_pacs_own_transfer_syntax(
    pacs: Pacs, settings: Settings, store: Store, archive: Archive
) -> None:
    """RLE, JPEG-LS and multi-frame instances come by C-GET as the PACS holds them; a second time nothing is asked."""
    fetched = run_fetch(pacs, settings, store)

    assert {uid: (one.outcome, one.held_before, one.held) for uid, one in fetched.items()} == {
        RLE_SERIES: (Outcome.FETCHED, 0, 4),
        LS_SERIES: (Outcome.FETCHED, 0, 3),
        ENHANCED_SERIES: (Outcome.FETCHED, 0, 1),
    }
    assert_archived_as_given(pacs, store, archive, RLE_SERIES, LS_SERIES, ENHANCED_SERIES)
    assert not [entry for entry in (settings.archive_dir / "incoming").iterdir() if entry.is_dir()]
    assert store.status().open_associations == 0
    assert {one.outcome for one in run_fetch(pacs, settings, store).values()} == {Outcome.HELD}


def test_what_cannot_be_archived_is_incomplete(pacs: Pacs, settings: Settings, store: Store) -> None:
    """A disk below its watermark refuses every instance: the series are incomplete, and the reason is told."""
    full = settings.model_copy(
        update={"receiver": settings.receiver.model_copy(update={"disk_watermark_bytes": 2**62})}
    )
    fetched = run_fetch(pacs, full, store)
    assert {one.outcome for one in fetched.values()} == {Outcome.INCOMPLETE}
    assert all(one.held == 0 and one.reason for one in fetched.values())


@pytest.fixture
def receiver(pacs: Pacs, settings: Settings, store: Store, receiving: Callable[..., Any]) -> Iterator[Settings]:
    """The node's receiver at the port that the PACS knows, with the PACS allowed."""
    store.peers.allow(Peer(ae_title="PACS", called_ae_title=None, cidr="127.0.0.0/8", host="127.0.0.1", port=pacs.port))
    running = settings.receiver.model_copy(
        update={"host": "127.0.0.1", "port": pacs.node_port, "disk_watermark_bytes": 0}
    )
    running_settings = settings.model_copy(update={"receiver": running})
    with receiving(running_settings):
        yield running_settings


def test_move_brings_it_to_the_receiver(pacs: Pacs, receiver: Settings, store: Store, archive: Archive) -> None:
    """The PACS is told to send to the node's AE title, and does; what is reported is what the archive holds."""
    fetched = run_fetch(pacs, receiver, store, Method.MOVE)
    assert {uid: (one.outcome, one.held) for uid, one in fetched.items()} == {
        RLE_SERIES: (Outcome.FETCHED, 4),
        LS_SERIES: (Outcome.FETCHED, 3),
        ENHANCED_SERIES: (Outcome.FETCHED, 1),
    }
    assert_archived_as_given(pacs, store, archive, RLE_SERIES, LS_SERIES, ENHANCED_SERIES)


def test_move_without_a_receiver_is_incomplete(pacs: Pacs, settings: Settings, store: Store) -> None:
    """Nobody listens where the PACS sends to: told, not believed."""
    fetched = run_fetch(pacs, settings, store, Method.MOVE)
    assert {one.outcome for one in fetched.values()} <= {Outcome.INCOMPLETE, Outcome.FAILED}
    assert all(one.held == 0 for one in fetched.values())


def test_a_peer_that_is_not_there(pacs: Pacs) -> None:
    """A closed port is Unreachable, which is worth another attempt."""
    nobody = Remote(ae_title="PACS", host="127.0.0.1", port=free_port(), calling_ae_title="X", timeout_s=5)
    with pytest.raises(Unreachable):
        find_series(nobody, Criteria(study_instance_uid=STUDY))
    assert Unreachable.transient
    assert nobody.port != pacs.port


@pytest.fixture
def command(pacs: Pacs, settings: Settings, store: Store) -> Callable[..., Any]:
    """Run ``lungsentry fetch`` against the PACS."""
    variables = {
        "LUNGSENTRY_NODE__DATA_DIR": str(settings.node.data_dir),
        "LUNGSENTRY_RECEIVER__DISK_WATERMARK_BYTES": "0",
    }
    assert store.status()

    def run(*arguments: str, port: int = pacs.port) -> Any:
        where = ("--peer", "PACS", "--host", "127.0.0.1", "--port", str(port))
        return CliRunner().invoke(app, ["fetch", *where, *arguments], env=variables)

    return run


def test_the_command_fetches_and_says_so(command: Callable[..., Any]) -> None:
    """A dry run changes nothing; the fetch brings CT and leaves MR; repeated, everything is held; exit codes follow."""
    dry = command("--patient", "PHANTOM2", "--dry-run", "--json")
    fetched = command("--study", STUDY, "--json")
    again = command("--from", "2026-01-15", "--to", "2026-01-15")
    nothing = command("--study", "1.2.3")

    assert (dry.exit_code, fetched.exit_code, again.exit_code, nothing.exit_code) == (0, 0, 0, 1)
    assert [one["held"] for one in json.loads(dry.stdout)["series"]] == [0, 0, 0]
    assert {one["outcome"] for one in json.loads(fetched.stdout)["series"]} == {"fetched"}
    assert "0 instances fetched; 3 of 3 series are whole" in again.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [((), 2), (("--study", STUDY, "--method", "push"), 2), (("--from", "yesterday"), 2), (("--patient", "A*"), 2)],
)
def test_a_question_that_makes_no_sense(command: Callable[..., Any], arguments: tuple[str, ...], code: int) -> None:
    """No criterion, an unknown method, no date and a wildcard are usage errors."""
    assert command(*arguments).exit_code == code


def test_an_unreachable_pacs_is_exit_three(command: Callable[..., Any]) -> None:
    """Scripts can tell that nobody answers from that nothing was found."""
    assert command("--study", STUDY, port=free_port()).exit_code == 3
