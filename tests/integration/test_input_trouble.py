"""What hospitals and research sets really send, through the command: analysed, or the reason names what is wrong."""

import copy
import json
import logging
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pydicom
import pytest
import structlog
from ct_files import ct_slices, write
from model_sets import models_with
from pydicom.dataset import Dataset
from pydicom.fileset import FileSet
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from threshold_segmenter import ThresholdSegmenter
from typer.testing import CliRunner

from dicom_node.cli import app, local_analysis
from dicom_node.simulator import PhantomSpec, build_phantom
from dicom_node.simulator.series import ct_image, header_for

SIDE = 128
RING = np.hypot(*(np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2)) > (SIDE - 1) / 2


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Thresholds take the model's place, no settings file is near, and logging is put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(local_analysis, "load_models", lambda _settings, _model: models_with(ThresholdSegmenter()))
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


@pytest.fixture(scope="module")
def slices() -> list[Dataset]:
    """An attenuation-correction CT with opacities, head first."""
    phantom = build_phantom(PhantomSpec.ctac_opacities(matrix=SIDE))
    header, count = header_for(phantom, salt="trouble"), len(phantom.hu)
    return [ct_image(phantom, header, index=count - number, number=number) for number in range(1, count + 1)]


def _analyze(*words: object) -> tuple[Any, str]:
    done = CliRunner().invoke(app, ["analyze", *map(str, words), "--json"])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return json.loads(done.stdout), done.stderr


def _one(folder: Path, *words: object) -> Any:
    document, _ = _analyze(folder, *words)
    (series,) = document["series"]
    return series


def _pixels(dataset: Dataset) -> np.ndarray:
    return np.frombuffer(dataset.PixelData, "<u2").reshape(SIDE, SIDE).copy()


def _padded(slices: list[Dataset]) -> None:
    for dataset in slices:
        pixels = _pixels(dataset)
        pixels[RING] = 63536
        dataset.PixelData, dataset.PixelPaddingValue = pixels.tobytes(), 63536


def _high_bit(slices: list[Dataset]) -> None:
    for dataset in slices:
        dataset.PixelData, dataset.HighBit = (_pixels(dataset) << 4).tobytes(), 15


def _two_phases(slices: list[Dataset]) -> None:
    again = copy.deepcopy(slices)
    for dataset in again:
        x, y, z = dataset.ImagePositionPatient
        dataset.SOPInstanceUID, dataset.AcquisitionNumber = generate_uid(), 2
        dataset.ImagePositionPatient = [x, y, round(float(z) + 0.02, 2)]
    slices += again


def _sent_again(slices: list[Dataset]) -> None:
    twin = copy.deepcopy(slices[20])
    twin.SOPInstanceUID = generate_uid()
    slices.append(twin)


@pytest.mark.parametrize("trouble", [_padded, _high_bit, _two_phases, _sent_again])
def test_what_can_be_put_right_gives_the_same_figures(
    slices: list[Dataset], tmp_path: Path, trouble: Callable[[list[Dataset]], None]
) -> None:
    """Padding beyond the bits, bits at the top, a second phase, a slice sent again: the figures of the plain series."""
    plain = _one(write(slices, tmp_path / "plain"))
    spoilt = copy.deepcopy(slices)
    trouble(spoilt)
    found = _one(write(spoilt, tmp_path / "spoilt"))
    assert found["status"] == "analysed", found["reason"]
    for figure in ("burden_percent", "lung_volume_ml"):
        assert found["findings"][figure] == pytest.approx(plain["findings"][figure], rel=0.02)


def test_a_folder_without_uids_is_analysed_and_its_results_carry_uids(slices: list[Dataset], tmp_path: Path) -> None:
    """As the largest public set of this disease has it: told once, and the report names what the findings name."""
    bare = copy.deepcopy(slices)
    with pydicom.config.disable_value_validation():
        for dataset in bare:
            for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
                del dataset[keyword]
            dataset.SOPInstanceUID, dataset.StudyInstanceUID = "", "6E3B-4B0F-study"
            dataset.SeriesInstanceUID = "6E3B-4B0F-series"
    document, told = _analyze(write(bare, tmp_path / "bare"), "--out", tmp_path / "out")
    (series,) = document["series"]
    assert series["status"] == "analysed"
    assert document["notes"] == [
        f"{len(bare)} of {len(bare)} files have no SOPInstanceUID that tells them apart: derived from their content"
    ]
    assert told.count("derived from their content") == 1
    with pydicom.config.disable_value_validation():
        report = pydicom.dcmread(series["files"][0])
        named = {
            str(item.ReferencedSOPInstanceUID)
            for study in report.CurrentRequestedProcedureEvidenceSequence
            for one in study.ReferencedSeriesSequence
            for item in one.ReferencedSOPSequence
        }
        assert report.StudyInstanceUID == "6E3B-4B0F-study"
    assert len(named) == len(bare)
    assert all(uid.startswith("2.25.") for uid in named)


def _zip(folder: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made:
        for path in sorted(folder.rglob("*")):
            made.write(path, Path("patient") / path.relative_to(folder))
    return archive


def test_a_zip_and_a_medium_are_what_they_hold(
    slices: list[Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same figures from a folder, a zip of it, a DICOMDIR, and the folder of a DICOMDIR."""
    # a file-set leaves the removal of its staging folders to chance, which warns
    monkeypatch.setattr(
        "pydicom.fileset.TemporaryDirectory",
        lambda: SimpleNamespace(name=tempfile.mkdtemp(dir=tmp_path), cleanup=lambda: None),
    )
    folder = write(slices, tmp_path / "folder")
    medium = FileSet()
    for path in sorted(folder.iterdir()):
        medium.add(path)
    medium.write(tmp_path / "medium")
    found = [
        _one(path)["findings"]["burden_percent"]
        for path in (folder, _zip(folder, tmp_path / "a.zip"), tmp_path / "medium" / "DICOMDIR", tmp_path / "medium")
    ]
    assert found == [found[0]] * 4


def test_a_zip_that_cannot_be_unpacked_says_what_to_do(tmp_path: Path) -> None:
    """A torn archive is a usage error in words."""
    archive = _zip(write(ct_slices(9), tmp_path / "folder"), tmp_path / "a.zip")
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) // 2] + b"\0" * 64 + content[len(content) // 2 + 64 :])
    done = CliRunner().invoke(app, ["analyze", str(archive)])
    assert done.exit_code == 2
    assert "unpack it yourself" in done.stderr
    assert not list(Path(tempfile.gettempdir()).glob("lungsentry-*/0/patient"))


def test_patients_of_one_folder_are_analysed_apart(slices: list[Dataset], tmp_path: Path) -> None:
    """Two patients, under one series UID even: two results."""
    other = copy.deepcopy(slices)
    for dataset in other:
        dataset.PatientID, dataset.SOPInstanceUID = "SOMEBODY ELSE", generate_uid()
    document, _ = _analyze(write([*slices, *other], tmp_path / "mixed"))
    assert [series["status"] for series in document["series"]] == ["analysed", "analysed"]


def _received(port_taker: Callable[[int], None]) -> list[Dataset]:
    """What a peer is sent while this is called with its port."""
    got: list[Dataset] = []

    def on_store(event: evt.Event) -> int:
        got.append(event.dataset)
        return 0x0000

    entity = AE("PEER")
    entity.add_supported_context("1.2.840.10008.5.1.4.1.1.2")
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, on_store)])
    try:
        port_taker(server.socket.getsockname()[1])
    finally:
        server.shutdown()
        server.server_close()
    return got


def _send(folder: Path, port: int, *words: str) -> Any:
    address = ["--to", "PEER", "--host", "127.0.0.1", "--port", str(port)]
    return CliRunner().invoke(app, ["send", str(folder), *address, *words])


def test_send_says_what_is_missing_and_sends_copies_with_new_uids(tmp_path: Path) -> None:
    """Files without identifiers are not sent and the option is offered; with it all arrive, together, conformant."""
    spoilt = {"SOPInstanceUID": "", "StudyInstanceUID": "9A41-study", "SeriesInstanceUID": "9A41-series"}
    folder = write(ct_slices(9, **spoilt), tmp_path / "bare")
    outcomes: list[Any] = []
    assert not _received(lambda port: outcomes.append(_send(folder, port)))
    assert outcomes[0].exit_code != 0
    assert "9 files have no SOPInstanceUID" in outcomes[0].stderr
    assert "--new-uids" in outcomes[0].stderr
    got = _received(lambda port: outcomes.append(_send(folder, port, "--new-uids")))
    assert outcomes[1].exit_code == 0, outcomes[1].output
    assert len({one.SOPInstanceUID for one in got}) == 9
    assert len({(one.StudyInstanceUID, one.SeriesInstanceUID) for one in got}) == 1
    assert all(_conformant(one) for one in got)


def _conformant(dataset: Dataset) -> bool:
    named: Sequence[Any] = (dataset.SOPInstanceUID, dataset.SeriesInstanceUID, dataset.StudyInstanceUID)
    return all(uid.is_valid for uid in named)
