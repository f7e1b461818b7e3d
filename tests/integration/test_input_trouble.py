"""What hospitals and research sets really send, through the command: analysed, or the reason names what is wrong."""

import copy
import json
import logging
import shutil
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
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.fileset import FileSet
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MediaStorageDirectoryStorage, generate_uid
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


def _with_the_abdomen(slices: list[Dataset]) -> None:
    """Below the chest a longer and softer volume without lungs, under the same series UID."""
    below = [copy.deepcopy(slices[0]) for _ in range(len(slices) + 20)]
    for number, dataset in enumerate(below, start=1):
        x, y, z = slices[-1].ImagePositionPatient
        pixels = _pixels(dataset)
        pixels[pixels < 400] = 1064
        pixels[RING] = 0
        dataset.PixelData = pixels.tobytes()
        dataset.SOPInstanceUID, dataset.InstanceNumber = generate_uid(), len(slices) + number
        dataset.ConvolutionKernel = "B20s"
        dataset.ImagePositionPatient = [x, y, float(z) - number * float(dataset.SliceThickness)]
    slices += below


def _with_a_softer_one_without_rescale(slices: list[Dataset]) -> None:
    """The volume that would be taken first is one that headers exclude."""
    soft = copy.deepcopy(slices)
    for dataset in soft:
        dataset.SOPInstanceUID, dataset.ConvolutionKernel = generate_uid(), "B10s"
        del dataset.RescaleSlope, dataset.RescaleIntercept
    slices += soft


def _with_reformats(slices: list[Dataset]) -> None:
    """Sagittal images of the same examination, over a longer way, under the same series UID."""
    side = [copy.deepcopy(slices[0]) for _ in range(2 * len(slices))]
    for number, dataset in enumerate(side, start=1):
        dataset.SOPInstanceUID, dataset.InstanceNumber = generate_uid(), len(slices) + number
        dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
        dataset.ImagePositionPatient = [float(number) * 4, -200, 0]
    slices += side


def _sent_again_as_a_whole(slices: list[Dataset]) -> None:
    again = copy.deepcopy(slices)
    for dataset in again:
        dataset.SOPInstanceUID = generate_uid()
    slices += again


def _with_strays(slices: list[Dataset]) -> None:
    """A page without a place, of another matrix, and a coronal image, stored as slices of the series."""
    page, coronal = strays = copy.deepcopy(slices[:2])
    for number, dataset in enumerate(strays, start=len(slices) + 1):
        dataset.SOPInstanceUID, dataset.InstanceNumber = generate_uid(), number
    del page.ImagePositionPatient, page.ImageOrientationPatient, page.PixelSpacing
    coronal.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    page.Rows = page.Columns = 2 * SIDE
    page.PixelData = bytes(2 * (2 * SIDE) ** 2)
    slices += strays


def _spacing_as_text(slices: list[Dataset]) -> None:
    for dataset in slices:
        spacing = "\\".join(map(str, dataset.PixelSpacing))
        del dataset.PixelSpacing
        dataset.add_new("PixelSpacing", "UT", spacing)


def _frames_of_reference_of_their_own(slices: list[Dataset]) -> None:
    for dataset in slices:
        dataset.FrameOfReferenceUID = generate_uid()


def _studies_of_their_own(slices: list[Dataset]) -> None:
    for dataset in slices:
        dataset.StudyInstanceUID = generate_uid()


TROUBLES = [
    *(_padded, _high_bit, _two_phases, _sent_again, _sent_again_as_a_whole),
    *(_with_the_abdomen, _with_a_softer_one_without_rescale, _with_reformats, _with_strays, _spacing_as_text),
    *(_frames_of_reference_of_their_own, _studies_of_their_own),
]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_what_can_be_put_right_gives_the_same_figures(
    slices: list[Dataset], tmp_path: Path, trouble: Callable[[list[Dataset]], None]
) -> None:
    """Padding beyond the bits, a second phase, a slice sent again, strays: the figures of the plain series."""
    plain = _one(write(slices, tmp_path / "plain"))
    spoilt = copy.deepcopy(slices)
    trouble(spoilt)
    found = _one(write(spoilt, tmp_path / "spoilt"))
    assert found["status"] == "analysed", found["reason"]
    for figure in ("burden_percent", "lung_volume_ml"):
        assert found["findings"][figure] == pytest.approx(plain["findings"][figure], rel=0.02)


def test_results_of_a_series_whose_chest_is_not_its_first_volume_are_of_the_chest(
    slices: list[Dataset], tmp_path: Path
) -> None:
    """Report, segmentation and key slices refer to the slices that were analysed, and the report names the others."""
    spoilt = copy.deepcopy(slices)
    _with_the_abdomen(spoilt)
    document, _ = _analyze(write(spoilt, tmp_path / "series"), "--out", tmp_path / "out")
    (found,) = document["series"]
    assert found["status"] == "analysed", found["reason"]
    (told,) = (reason for reason in found["findings"]["quality_reasons"] if "under one series UID" in reason)
    assert f"taken: Convolution Kernel {slices[0].ConvolutionKernel} ({len(slices)} slices)" in told
    assert f"left out: Convolution Kernel B20s ({len(slices) + 20} slices)" in told
    chest = {str(dataset.SOPInstanceUID) for dataset in slices}
    written = [pydicom.dcmread(file) for file in found["files"] if file.endswith(".dcm")]
    referred = {one.Modality: _images_of_evidence(one) for one in written if one.Modality in {"SR", "SEG"}}
    assert referred == {"SR": chest, "SEG": referred["SEG"]}
    assert referred["SEG"]
    assert referred["SEG"] <= chest


def _images_of_evidence(dataset: Dataset) -> set[str]:
    """The CT images that a report or a segmentation refers to."""
    if dataset.Modality == "SEG":
        series = [dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence]
    else:
        studies = dataset.CurrentRequestedProcedureEvidenceSequence
        series = [one.ReferencedSOPSequence for study in studies for one in study.ReferencedSeriesSequence]
    return {
        str(item.ReferencedSOPInstanceUID)
        for items in series
        for item in items
        if item.ReferencedSOPClassUID == CTImageStorage
    }


def test_a_series_of_volumes_of_which_none_is_a_chest_names_them_all(slices: list[Dataset], tmp_path: Path) -> None:
    """The reason says what the first failed at, which volumes share the UID, and what each that was tried failed at."""
    both = copy.deepcopy(slices)
    _with_the_abdomen(both)
    first = both[len(slices) :]
    second = copy.deepcopy(first)
    for dataset in second:
        dataset.SOPInstanceUID, dataset.ConvolutionKernel = generate_uid(), "B70f"
    document, _ = _analyze(write([*first, *second], tmp_path / "series"))
    (found,) = document["series"]
    assert found["status"] == "excluded"
    taken = f"taken: Convolution Kernel B20s ({len(first)} slices)"
    assert f"2 under one series UID; {taken}; left out: Convolution Kernel B70f" in found["reason"]
    assert "Convolution Kernel B70f neither: " in found["reason"]


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
            if item.ReferencedSOPClassUID == CTImageStorage  # the segmentation of what was found is evidence too
        }
        assert report.StudyInstanceUID == "6E3B-4B0F-study"
    assert len(named) == len(bare)
    assert all(uid.startswith("2.25.") for uid in named)


def _without_preamble(path: Path) -> None:
    path.write_bytes(path.read_bytes()[132:])


def _without_meta(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[144 + int.from_bytes(content[140:144], "little") :])


def _implicit_without_meta(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    dataset.preamble = None
    dataset.file_meta = FileMetaDataset()
    dataset.save_as(path, implicit_vr=True, little_endian=True, enforce_file_format=False)
    assert path.read_bytes()[:2] == b"\x08\0"


def _without_syntax(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    del dataset.file_meta.TransferSyntaxUID
    dataset.save_as(path, implicit_vr=False, little_endian=True, enforce_file_format=False)


@pytest.mark.parametrize("spoil", [_without_preamble, _without_meta, _implicit_without_meta, _without_syntax])
def test_a_file_that_lacks_its_own_header_is_read(
    slices: list[Dataset], tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    """Bare data sets, as older exports are, and files that do not name their syntax: measured, with a report."""
    folder = write(slices, tmp_path / "bare")
    for path in folder.iterdir():
        spoil(path)
    (folder / "notes.txt").write_text("no DICOM, though it is longer than a preamble" * 9)
    document, told = _analyze(folder, "--out", tmp_path / "out")
    (series,) = document["series"]
    assert series["status"] == "analysed", series["reason"]
    assert series["findings"]["lung_volume_ml"] > 1000
    assert told.count("not a DICOM file") == 1
    assert pydicom.dcmread(series["files"][0]).Modality == "SR"


def _zip(folder: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made:
        for path in sorted(folder.rglob("*")):
            made.write(path, Path("patient") / path.relative_to(folder))
    return archive


def test_a_zip_and_a_medium_are_what_they_hold(
    slices: list[Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same figures from a folder, a zip of it, a DICOMDIR, its folder, and one whose names are in small letters."""
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
    shutil.copytree(tmp_path / "medium", tmp_path / "copied")
    for path in sorted((tmp_path / "copied").rglob("*"), reverse=True):
        if path.name != "DICOMDIR":  # as a mounted medium shows its names
            path.rename(path.with_name(path.name.lower() + (";1" if path.is_file() else "")))
    found = [
        _one(path)["findings"]["burden_percent"]
        for path in (
            *(folder, _zip(folder, tmp_path / "a.zip"), tmp_path / "medium" / "DICOMDIR", tmp_path / "medium"),
            tmp_path / "copied" / "DICOMDIR",
        )
    ]
    assert found == [found[0]] * 5


@pytest.mark.parametrize("given", ["medium", "medium/DICOMDIR"])
def test_what_a_medium_lacks_is_told(tmp_path: Path, given: str) -> None:
    """A DICOMDIR names files that were not copied with it: each is told, whether it or its folder is given."""
    record = Dataset()
    record.DirectoryRecordType, record.ReferencedFileID = "IMAGE", ["IMAGES", "IM1"]
    directory = Dataset()
    directory.DirectoryRecordSequence = [record]
    directory.file_meta = FileMetaDataset()
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    directory.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    (tmp_path / "medium").mkdir()
    directory.save_as(tmp_path / "medium" / "DICOMDIR", enforce_file_format=True)
    done = CliRunner().invoke(app, ["analyze", str(tmp_path / given)])
    assert done.exit_code == 1
    told = done.stderr.replace("\n", "")
    assert told.count("medium/IMAGES/IM1: no such file") == 1
    assert "no DICOM series was found" in told


def test_what_is_no_image_in_a_zip_is_named_as_it_lies_there(tmp_path: Path) -> None:
    """Not by the folder in which it was unpacked, which is gone by then."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "letter.txt").write_text("no DICOM")
    archive = _zip(tmp_path / "folder", tmp_path / "a.zip")
    done = CliRunner().invoke(app, ["analyze", str(archive)])
    assert done.exit_code == 1
    assert "a.zip/patient/letter.txt: not a DICOM file" in done.stderr.replace("\n", "")
    assert "no DICOM series was found in" in done.stderr


def test_a_zip_that_cannot_be_unpacked_says_what_to_do(tmp_path: Path) -> None:
    """A torn archive is a usage error in words."""
    archive = _zip(write(ct_slices(9), tmp_path / "folder"), tmp_path / "a.zip")
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) // 2] + b"\0" * 64 + content[len(content) // 2 + 64 :])
    done = CliRunner().invoke(app, ["analyze", str(archive)])
    assert done.exit_code == 2
    assert "unpack it yourself" in done.stderr
    assert not list(Path(tempfile.gettempdir()).glob("lungsentry-*/0/patient"))


def test_a_zip_that_was_not_opened_says_what_to_do(tmp_path: Path) -> None:
    """One within a folder or another zip, and one that is cut off, whose directory is lost."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "letter.txt").write_text("no DICOM")
    inner = _zip(tmp_path / "folder", tmp_path / "folder" / "inner.zip")
    (tmp_path / "torn.zip").write_bytes(inner.read_bytes()[:100])
    outer = _zip(tmp_path / "folder", tmp_path / "outer.zip")
    for given, named in (
        (tmp_path / "folder", "inner.zip"),
        (outer, "outer.zip/patient/inner.zip"),
        (tmp_path / "torn.zip", "torn.zip"),
    ):
        done = CliRunner().invoke(app, ["analyze", str(given)])
        assert done.exit_code == 1
        told = " ".join(done.stderr.split())
        assert f"{named}: a zip archive that is damaged, or lies in a folder or an archive: unpack it" in told


def test_patients_of_one_folder_are_analysed_apart(slices: list[Dataset], tmp_path: Path) -> None:
    """Two patients, under one series UID even: two results."""
    other = copy.deepcopy(slices)
    for dataset in other:
        dataset.PatientID, dataset.SOPInstanceUID = "SOMEBODY ELSE", generate_uid()
    document, _ = _analyze(write([*slices, *other], tmp_path / "mixed"))
    assert [series["status"] for series in document["series"]] == ["analysed", "analysed"]


def test_what_was_found_is_told_line_by_line(slices: list[Dataset], tmp_path: Path) -> None:
    """For people: a table, then the description, a line each, and no control character in any."""
    done = CliRunner().invoke(app, ["analyze", str(write(slices, tmp_path / "plain"))])
    assert done.exit_code == 0, done.output
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert any(line.startswith("Both lungs") for line in lines)
    assert any(line.startswith("Model ") for line in lines)
    assert "<0A>" not in done.stdout
    assert lines[-1].startswith("Research use only")


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
