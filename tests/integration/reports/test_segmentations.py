"""Segmentations are judged by highdicom, which reads them back, by dciodvfy, and by dcentvfy against their series."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import highdicom
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from analysed_phantoms import AnalysedFolder, analysed_folder, analysed_phantom
from highdicom.color import CIELabColor
from highdicom.legacy import LegacyConvertedEnhancedCTImage
from sr_reports import content_items, dciodvfy, decide, measurement_groups, name_code, unexpected
from stored_copies import Storing, read_slices

from alerts import SOP_CLASSES, ArtefactKind
from alerts.reports import (
    WrittenSegmentation,
    lobes_segmentation,
    opacities_label_map,
    opacities_segmentation,
    structured_report,
)
from analysis.anatomy.lobes import LOBE_LABELS
from analysis.colours import GGO_COLOUR, HIGH_OPACITY_COLOUR
from analysis.findings import Lobe

GGO, HIGH = "Ground-glass opacity, both lungs", "High opacity (consolidation or pleural effusion), both lungs"
STORINGS = {
    "as made": None,
    "mirrored": Storing(columns_flipped=True),
    "transposed, upside down": Storing(transposed=True, rows_flipped=True),
    "feet first, reversed": Storing(feet_first=True, reversed_order=True),
}


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> AnalysedFolder:
    """The phantom as it is made."""
    return analysed_phantom(tmp_path_factory.mktemp("phantom"))


def _opacities(case: AnalysedFolder) -> WrittenSegmentation:
    written = opacities_segmentation(case.analysed, case.sources)
    assert written is not None
    return written


def _lobes(case: AnalysedFolder) -> WrittenSegmentation:
    written = lobes_segmentation(case.analysed, case.sources)
    assert written is not None
    return written


def _read(written: WrittenSegmentation) -> highdicom.seg.Segmentation:
    return highdicom.seg.segread(BytesIO(written.draft.content))


def _by_source(written: WrittenSegmentation, uids: Sequence[str]) -> npt.NDArray[np.uint8]:
    """The segments' numbers over the stored pixels of each source image."""
    return _read(written).get_pixels_by_source_instance(
        uids, combine_segments=True, relabel=False, assert_missing_frames_are_empty=True
    )


@pytest.mark.parametrize("storing", STORINGS.values(), ids=STORINGS.keys())
def test_each_segment_lies_over_the_stored_pixels_of_its_source(storing: Storing | None, tmp_path: Path) -> None:
    """However the slices are stored, highdicom reads the very label map back, slice by slice."""
    case = analysed_phantom(tmp_path, storing)
    volume = case.analysed.volume
    written = _opacities(case)
    numbers = {GGO: 1, HIGH: 2}
    assert {name: one.number for name, one in written.segments.items()} == numbers
    np.testing.assert_array_equal(_by_source(written, volume.sop_instance_uids), volume.to_native(case.analysed.labels))


def test_an_orientation_told_with_other_decimals_is_the_same(tmp_path: Path) -> None:
    """A scanner rounds each slice by itself: the volume is one, and so is its segmentation."""
    made = analysed_phantom(tmp_path).folder
    first = min(made.iterdir())
    slice_ = pydicom.dcmread(first)
    slice_.ImageOrientationPatient = [1, 0, 0, 0, 0.999999, 0.000001]
    slice_.save_as(first)
    case = analysed_folder(made)
    uids = case.analysed.volume.sop_instance_uids
    np.testing.assert_array_equal(
        _by_source(_opacities(case), uids), case.analysed.volume.to_native(case.analysed.labels)
    )


def test_segments_hold_the_volumes_of_the_report(phantom: AnalysedFolder) -> None:
    """Voxels of every segment times their volume are the figures of the findings."""
    analysed = phantom.analysed
    ml = analysed.volume.voxel_volumes_ml()
    whole = analysed.findings.both_lungs
    opacities = _by_source(_opacities(phantom), analysed.volume.sop_instance_uids)
    for number, expected in ((1, whole.ggo_volume_ml), (2, whole.high_opacity_volume_ml)):
        assert float((opacities == number).sum(axis=(1, 2)) @ ml) == pytest.approx(expected)
    written = _lobes(phantom)
    lobes = _by_source(written, analysed.volume.sop_instance_uids)
    labels = {f"{lobe}": label for label, lobe in LOBE_LABELS.items()}
    assert len(written.segments) == len(analysed.findings.lobes) == len(labels)
    for number, (lobe, region) in enumerate(sorted(analysed.findings.lobes.items(), key=lambda one: labels[one[0]]), 1):
        assert float((lobes == number).sum(axis=(1, 2)) @ ml) == pytest.approx(region.lung_volume_ml), lobe


def test_a_lung_of_which_no_lobe_is_told_is_a_segment(phantom: AnalysedFolder) -> None:
    """Only the right lung's lobes are told: the left lung is one segment, and each voxel is in one segment at most."""
    lobes = phantom.analysed.lobes
    told = {lobe: share for lobe, share in lobes.confidence_percent.items() if lobe.value.startswith("R")}
    right = np.where(np.isin(lobes.labels, (4, 5, 6)), lobes.labels, 0).astype(np.uint8)
    analysed = replace(phantom.analysed, lobes=replace(lobes, labels=right, confidence_percent=told))
    written = _lobes(replace(phantom, analysed=analysed))
    assert set(written.segments) == {"Left lung", "Right upper lobe", "Right middle lobe", "Right lower lobe"}
    read = _read(written)
    assert read.SegmentsOverlap == "NO"
    assert {Lobe.RIGHT_UPPER, Lobe.RIGHT_MIDDLE, Lobe.RIGHT_LOWER} == set(told)


def test_a_label_map_holds_the_very_labels_and_no_report_refers_to_it(phantom: AnalysedFolder) -> None:
    """Its values are the segments' numbers over the stored pixels; the same content twice is the same object."""
    written = opacities_label_map(phantom.analysed, phantom.sources)
    assert written is not None
    assert written.segments == {}
    read = _read(written)
    assert (read.SOPClassUID, read.SegmentationType) == (SOP_CLASSES[ArtefactKind.LABEL_MAP], "LABELMAP")
    volume = phantom.analysed.volume
    native = volume.to_native(phantom.analysed.labels)
    np.testing.assert_array_equal(_by_source(written, volume.sop_instance_uids), native)
    again = opacities_label_map(phantom.analysed, phantom.sources)
    assert again is not None
    assert again.draft == written.draft


@pytest.mark.parametrize("make", [_opacities, _lobes], ids=["opacities", "lobes"])
def test_it_is_valid_and_fits_its_series(make, phantom: AnalysedFolder, tmp_path: Path) -> None:
    """No error of dciodvfy in the object, none of dcentvfy in the object among the images of its study."""
    dataset = pydicom.dcmread(BytesIO(make(phantom).draft.content))
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian  # dciodvfy inflates nothing
    dataset.save_as(tmp_path / "seg.dcm")
    lines = dciodvfy(tmp_path / "seg.dcm").splitlines()
    assert [line for line in unexpected(lines, "Segmentation") if "DICOMDIR" not in line] == []
    assert _dcentvfy([tmp_path / "seg.dcm", *sorted(phantom.folder.iterdir())]) == ""


def _dcentvfy(paths: Sequence[Path]) -> str:
    if shutil.which("dcentvfy") is None:
        if os.environ.get("CI"):
            pytest.fail("dcentvfy (Debian package dicom3tools) is missing")
        pytest.skip("dcentvfy (Debian package dicom3tools) is missing")
    done = subprocess.run(["dcentvfy", *map(str, paths)], capture_output=True, text=True, check=False, timeout=60)
    return done.stdout + done.stderr


def test_each_frame_names_its_source_and_the_object_its_series(phantom: AnalysedFolder) -> None:
    """Viewers find the images by either; the study and the patient are those of the images, the rest is stated."""
    read = _read(_opacities(phantom))
    (listed,) = read.ReferencedSeriesSequence
    assert listed.SeriesInstanceUID == phantom.series.series_instance_uid
    for frame in read.PerFrameFunctionalGroupsSequence:
        (source,) = frame.DerivationImageSequence[0].SourceImageSequence
        assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    source = pydicom.dcmread(phantom.sources.first_path)
    for keyword in ("PatientName", "PatientID", "AccessionNumber", "StudyDate", "StudyInstanceUID"):
        assert read.get(keyword) == source.get(keyword)
    assert (read.SeriesNumber, read.ContentLabel, read.Modality) == (9702, "OPACITIES", "SEG")
    assert read.SegmentSequence[0].SegmentAlgorithmType == "AUTOMATIC"
    shown = [CIELabColor.from_dicom_value(one.RecommendedDisplayCIELabValue) for one in read.SegmentSequence]
    for colour, expected in zip(shown, (GGO_COLOUR, HIGH_OPACITY_COLOUR), strict=True):
        np.testing.assert_allclose(colour.to_rgb(clip=True), expected, atol=2)


def test_the_same_result_gives_the_same_bytes(phantom: AnalysedFolder) -> None:
    """Nothing in it is drawn at random or read from a clock; another label map has other UIDs."""
    first, second = _opacities(phantom).draft, _opacities(phantom).draft
    assert first == second
    labels = phantom.analysed.labels.copy()
    labels[labels == 2] = 1
    other = _opacities(replace(phantom, analysed=replace(phantom.analysed, labels=labels)))
    assert other.draft.sop_instance_uid != first.sop_instance_uid
    assert set(other.segments) == {GGO}


def test_the_report_refers_to_the_segments(phantom: AnalysedFolder, tmp_path: Path) -> None:
    """Groups of what is segmented follow TID 1411 and name the segment that is tracked alike; the others TID 1501."""
    opacities, lobes = _opacities(phantom), _lobes(phantom)
    segments = {**opacities.segments, **lobes.segments}
    findings = phantom.analysed.findings
    draft = structured_report(findings, decide(findings), sources=phantom.sources, segments=segments)
    (tmp_path / "sr.dcm").write_bytes(draft.content)
    assert "Error" not in dciodvfy(tmp_path / "sr.dcm")
    report = pydicom.dcmread(tmp_path / "sr.dcm")
    tracked = {
        (one.SOPInstanceUID, segment.SegmentNumber): segment.TrackingUID
        for one in (_read(opacities), _read(lobes))
        for segment in one.SegmentSequence
    }
    groups = measurement_groups(report)
    for identifier, group in groups.items():
        named = [item for item in group.ContentSequence if name_code(item) == "121191"]
        template = group.ContentTemplateSequence[0].TemplateIdentifier
        assert (len(named), template) == ((1, "1411") if identifier in segments else (0, "1501"))
        for item in named:
            reference = item.ReferencedSOPSequence[0]
            uid = next(one.UID for one in group.ContentSequence if name_code(one) == "112040")
            assert tracked[reference.ReferencedSOPInstanceUID, reference.ReferencedSegmentNumber] == uid
    listed = {
        instance.ReferencedSOPInstanceUID
        for series in report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    assert {opacities.draft.sop_instance_uid, lobes.draft.sop_instance_uid} <= listed
    impression = next(item for item in content_items(report) if name_code(item) == "121073")
    assert "Research use only" in impression.TextValue
    assert f"{findings.both_lungs.ggo_volume_ml:.0f} mL" in impression.TextValue


def test_frames_of_a_multi_frame_source_are_named(tmp_path: Path) -> None:
    """Each frame of the segmentation names the frame that it lies over, and has its pixels."""
    as_made = analysed_phantom(tmp_path).folder
    slices = read_slices(sorted(as_made.iterdir()))
    converted = LegacyConvertedEnhancedCTImage(
        legacy_datasets=slices,
        series_instance_uid="1.2.3.4",
        series_number=3,
        sop_instance_uid="1.2.3.4.5",
        instance_number=1,
    )
    (tmp_path / "frames").mkdir()
    converted.save_as(tmp_path / "frames" / "all.dcm")
    case = analysed_folder(tmp_path / "frames")
    volume = case.analysed.volume
    read = _read(_opacities(case)).get_pixels_by_source_frame(
        "1.2.3.4.5",
        [number or 0 for number in volume.frame_numbers],
        combine_segments=True,
        relabel=False,
        assert_missing_frames_are_empty=True,
    )
    np.testing.assert_array_equal(read, volume.to_native(case.analysed.labels))


def test_without_opacity_or_frame_of_reference_there_is_none(phantom: AnalysedFolder) -> None:
    """An empty segmentation says nothing, and without a frame of reference none has a place."""
    nothing = replace(phantom.analysed, labels=np.zeros_like(phantom.analysed.labels))
    assert opacities_segmentation(nothing, phantom.sources) is None
    headers = tuple(replace(one, frame_of_reference_uid=None) for one in phantom.series.headers)
    placeless = replace(phantom.analysed, series=replace(phantom.series, headers=headers))
    assert opacities_segmentation(placeless, phantom.sources) is None
