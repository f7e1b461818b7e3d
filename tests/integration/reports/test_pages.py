"""The page of a result and its key slices, as secondary captures, as a document, and selected as key objects."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from analysed_phantoms import ACCESSION, NAME, PATIENT_ID, AnalysedFolder, analysed_folder, analysed_phantom
from pydicom.dataset import Dataset
from sr_reports import content_items, dciodvfy, decide, unexpected

from alerts import Draft
from alerts.reports import (
    key_object_selection,
    key_slice_captures,
    result_page,
    structured_report,
    summary_capture,
    summary_document,
)
from analysis.anatomy.lungs import RIGHT
from analysis.findings import Lobe
from analysis.measure import measure
from analysis.measure.regions import GGO
from analysis.panels import BACKGROUND, Image


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> AnalysedFolder:
    """A phantom with opacities."""
    return analysed_phantom(tmp_path_factory.mktemp("phantom"))


@pytest.fixture(scope="module")
def page(phantom: AnalysedFolder) -> Image:
    """The page of its result."""
    return _page(phantom)


@pytest.fixture(scope="module")
def drafts(phantom: AnalysedFolder, page: Image) -> dict[str, Draft]:
    """Everything made of it, by name."""
    return _drafts(phantom, page)


def _page(case: AnalysedFolder) -> Image:
    return result_page(case.analysed, decide(case.analysed.findings), change="Compared with the examination of then.")


def _drafts(case: AnalysedFolder, page: Image) -> dict[str, Draft]:
    findings = case.analysed.findings
    report = structured_report(findings, decide(findings), sources=case.sources)
    captures = (summary_capture(findings, page, case.sources), *key_slice_captures(case.analysed, case.sources))
    document = summary_document(findings, page, case.sources)
    selection = key_object_selection(findings, [report, *captures], case.sources)
    return {draft.name: draft for draft in (report, *captures, document, selection)}


def _read(draft: Draft) -> Dataset:
    return pydicom.dcmread(BytesIO(draft.content))


def test_every_object_is_valid(drafts: dict[str, Draft], tmp_path: Path) -> None:
    """Dciodvfy finds no error, and warns of nothing but what it does not know."""
    for name, draft in drafts.items():
        (tmp_path / name).write_bytes(draft.content)
        iod, *lines = dciodvfy(tmp_path / name).splitlines()
        assert unexpected(lines, iod) == [], name


def test_the_same_result_gives_the_same_bytes(phantom: AnalysedFolder, page: Image, drafts: dict[str, Draft]) -> None:
    """Pixels, PDF and UIDs: nothing is drawn at random or read from a clock."""
    np.testing.assert_array_equal(_page(phantom), page)
    assert _drafts(phantom, page) == drafts


def test_pixels_tell_nothing_of_the_patient(phantom: AnalysedFolder, page: Image, tmp_path: Path) -> None:
    """The same images of somebody else, at another accession, give the very same pictures."""
    for number, path in enumerate(sorted(phantom.folder.iterdir())):
        dataset = pydicom.dcmread(path)
        dataset.PatientName, dataset.PatientID, dataset.AccessionNumber = "Somebody^Else", "0-0-1", "OTHER"
        dataset.save_as(tmp_path / f"{number}.dcm")
    other = analysed_folder(tmp_path)
    np.testing.assert_array_equal(_page(other), page)
    pictures = [
        [_read(draft).PixelData for draft in key_slice_captures(one.analysed, one.sources)] for one in (phantom, other)
    ]
    assert pictures[0] == pictures[1]


def test_captures_say_what_they_show(phantom: AnalysedFolder, page: Image, drafts: dict[str, Draft]) -> None:
    """Pictures in colour that no viewer takes for slices, with source, orientation and window."""
    summary = _read(drafts["summary.dcm"])
    np.testing.assert_array_equal(summary.pixel_array, page)
    keys = [_read(draft) for name, draft in drafts.items() if name.startswith("key-slice")]
    findings = phantom.analysed.findings
    assert len(keys) == len(findings.key_slices[:5]) > 0
    assert len({one.SeriesInstanceUID for one in keys}) == 1
    assert [one.InstanceNumber for one in keys] == list(range(1, len(keys) + 1))
    for image in (summary, *keys):
        assert (image.Modality, image.ConversionType, list(image.ImageType)) == ("OT", "WSD", ["DERIVED", "SECONDARY"])
        assert (image.BurnedInAnnotation, image.RecognizableVisualFeatures) == ("NO", "NO")
        assert "C -600 W 1500 HU" in image.DerivationDescription
        assert "DateOfSecondaryCapture" not in image
        assert image.ReferencedSeriesSequence[0].SeriesInstanceUID == findings.series_instance_uid
    assert summary.PatientOrientation in {None, ""}
    for image, key in zip(keys, findings.key_slices, strict=False):
        assert list(image.PatientOrientation) == ["L", "P"]
        assert image.SourceImageSequence[0].ReferencedSOPInstanceUID == key.sop_instance_uid
        assert f"slice {key.slice_index + 1} at {key.position_mm:.1f} mm" in image.DerivationDescription


def test_lesions_are_marked_in_the_pair_of_colours(phantom: AnalysedFolder, page: Image) -> None:
    """Both colours are on the page, the hatching of high opacity in the lesion that has it, and none without lesion."""
    colours = {tuple(one) for one in np.unique(page.reshape(-1, 3), axis=0)}
    assert {(86, 180, 233), (230, 159, 0)} <= colours
    clear = replace(phantom.analysed, labels=np.zeros_like(phantom.analysed.labels))
    nothing = result_page(clear, decide(phantom.analysed.findings))
    marked = np.all(page == (230, 159, 0), axis=2)
    left, right = slice(740, 1300), slice(180, 1040)  # where the pictures lie
    assert marked[right, left].sum() > np.all(nothing == (230, 159, 0), axis=2)[right, left].sum() == 0


def test_lesion_lies_where_it_does_in_the_patient(phantom: AnalysedFolder) -> None:
    """Right, low and posterior: left and below on both planes, in the key slice, and in the diagram of the lobes."""
    case = _with_lesion(phantom)
    findings = case.analysed.findings
    lobes = findings.lobes
    assert max(lobes, key=lambda lobe: lobes[lobe].burden_percent) is Lobe.RIGHT_LOWER
    page = _read(summary_capture(findings, _page(case), case.sources)).pixel_array
    key_slice = _read(key_slice_captures(case.analysed, case.sources)[0]).pixel_array
    for name, picture in {
        "axial": page[186:586, 740:1300],
        "coronal": page[602:1034, 740:1300],
        "diagram": page[520:820, 36:336],
        "key slice": key_slice[60:-60, key_slice.shape[1] // 2 :],  # the marked one of two
    }.items():
        y, x = _place(picture)
        assert y > 0.6, name
        assert x < 0.4, name


def _with_lesion(phantom: AnalysedFolder) -> AnalysedFolder:
    """The phantom with ground glass in the right lung alone, near its base and its back."""
    analysed = phantom.analysed
    right = analysed.lungs.labels == RIGHT
    slices, rows, columns = (np.unique(axis) for axis in np.nonzero(right))
    labels = np.zeros_like(analysed.labels)
    labels[
        slices[len(slices) // 6] : slices[len(slices) // 4],
        rows[len(rows) * 2 // 3] : rows[len(rows) * 5 // 6],
        columns[len(columns) // 4] : columns[len(columns) // 2],
    ] = GGO
    labels[~right] = 0
    measured = measure(analysed.volume, analysed.lungs, labels, lobes=analysed.lobes)
    findings = replace(analysed.findings, lobes=measured.lobes, key_slices=measured.key_slices)
    return replace(phantom, analysed=replace(analysed, labels=labels, findings=findings))


def _place(picture: Image) -> tuple[float, float]:
    """The middle of what is coloured as ground glass, as shares of the height and width that is drawn on."""
    drawn = np.any(picture != BACKGROUND[::-1], axis=2)
    rows, columns = (np.nonzero(drawn.any(axis=axis))[0] for axis in (1, 0))
    red, blue = picture[:, :, 0].astype(int), picture[:, :, 2].astype(int)
    y, x = np.nonzero(blue - red > 40)
    assert len(y)
    return (y.mean() - rows[0]) / (rows[-1] - rows[0]), (x.mean() - columns[0]) / (columns[-1] - columns[0])


def test_the_document_holds_the_page_with_accession_and_date(drafts: dict[str, Draft]) -> None:
    """A PDF of one page; the patient's name and number are in the attributes of the object alone."""
    document = _read(drafts["summary.pdf.dcm"])
    pdf = bytes(document.EncapsulatedDocument)[: document.EncapsulatedDocumentLength]
    assert pdf.startswith(b"%PDF-")
    assert pdf.count(b"/Type /Page\n") == 1
    assert f"Accession number {ACCESSION}, study date 20260302".encode() in pdf
    assert b"Research use only" in pdf
    for word in (*NAME.split("^"), PATIENT_ID):
        assert word.encode() not in pdf
    assert (str(document.PatientName), document.PatientID) == (NAME, PATIENT_ID)
    assert (document.VerificationFlag, document.BurnedInAnnotation) == ("UNVERIFIED", "YES")
    assert document.ConceptNameCodeSequence[0].CodeValue == "18748-4"


def test_the_selection_refers_to_report_pictures_and_slices(phantom: AnalysedFolder, drafts: dict[str, Draft]) -> None:
    """Of interest: the report, each picture, and the images of the key slices."""
    selection = _read(drafts["key-objects.dcm"])
    assert selection.ConceptNameCodeSequence[0].CodeValue == "113000"
    referred = {
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for item in content_items(selection)
        if "ReferencedSOPSequence" in item
    }
    pictures = {draft.sop_instance_uid for name, draft in drafts.items() if name.startswith(("key-slice", "summary.d"))}
    slices = {one.sop_instance_uid for one in phantom.analysed.findings.key_slices}
    assert referred == {drafts["report.dcm"].sop_instance_uid} | pictures | slices
