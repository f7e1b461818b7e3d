"""A structured report is written, read back and judged."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from alerts import (
    AlertPolicy,
    PolicyDecision,
    Prior,
    ProfileThresholds,
    ReportNotWritten,
    RequestContext,
    UnusableEvidence,
    evaluate,
    wording,
)
from alerts.reports import WrittenReport, write_sr
from analysis.findings import (
    Findings,
    KeySlice,
    Lobe,
    Profile,
    Provenance,
    Quality,
    QualityLevel,
    RegionFindings,
)

STUDY = "1.2.826.0.1.3680043.10.1"
SERIES = "1.2.826.0.1.3680043.10.1.2"
POLICY = AlertPolicy(
    thresholds=dict.fromkeys(Profile, ProfileThresholds(burden_percent=1.0, lesion_volume_ml=5.0)),
    expected_words=("covid",),
)


def _region(lung_ml: float, ggo_ml: float, high_ml: float) -> RegionFindings:
    return RegionFindings(
        lung_volume_ml=lung_ml, ggo_volume_ml=ggo_ml, high_opacity_volume_ml=high_ml, high_density_volume_ml=high_ml / 2
    )


def _findings(**changes: Any) -> Findings:
    values: dict[str, Any] = {
        "study_instance_uid": STUDY,
        "series_instance_uid": SERIES,
        "revision": 1,
        "profile": Profile.CHEST_CT,
        "profile_cues": (),
        "slice_count": 3,
        "both_lungs": _region(4000.0, 300.1234, 100.0),
        "right_lung": _region(2200.0, 200.0, 60.0),
        "left_lung": _region(1800.0, 100.1234, 40.0),
        "lobes": {},
        "lss": None,
        "lhos": None,
        "lesion_count": 7,
        "lesion_mean_hu": -512.3456,
        "lesion_sd_hu": 140.25,
        "key_slices": (),
        "quality": Quality(level=QualityLevel.DIAGNOSTIC),
        "provenance": Provenance(
            model_name="opacity-convlstm",
            model_version="1.0.0",
            weights_sha256="ab" * 32,
            thresholds={"ggo": 0.5},
            runtime="torch 2.13",
            device="cpu",
            software_version="0.1.0",
        ),
    }
    return Findings(**(values | changes))


def _negative(**changes: Any) -> Findings:
    nothing = {
        "both_lungs": _region(4000.0, 0.0, 0.0),
        "right_lung": _region(2200.0, 0.0, 0.0),
        "left_lung": _region(1800.0, 0.0, 0.0),
        "lesion_count": 0,
        "lesion_mean_hu": None,
        "lesion_sd_hu": None,
    }
    return _findings(**(nothing | changes))


def _key_slice(uid: str, index: int = 0) -> KeySlice:
    return KeySlice(
        sop_instance_uid=uid,
        frame_number=None,
        slice_index=index,
        position_mm=2.0 * index,
        ggo_area_mm2=10.0,
        high_opacity_area_mm2=1.0,
    )


def _write_source(path: Path, number: int, *, syntax: str = ExplicitVRLittleEndian, **changes: Any) -> Path:
    """A CT header of ``number``; a change to None leaves the attribute out."""
    values: dict[str, Any] = {
        "SpecificCharacterSet": "ISO_IR 100",
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": f"{SERIES}.{number}",
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": SERIES,
        "PatientName": "Example^Case",
        "PatientID": "A1",
        "PatientBirthDate": "19500102",
        "PatientSex": "F",
        "StudyDate": "20200305",
        "StudyTime": "145500",
        "ContentDate": "20200305",
        "ContentTime": f"1456{number:02d}.5",
        "StudyID": "1",
        "AccessionNumber": "ACC1",
        "ReferringPhysicianName": "",
        "StudyDescription": "CT Thorax",
        "Modality": "CT",
    } | changes
    with pydicom.config.disable_value_validation():
        dataset = FileDataset(str(path), {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
        for keyword, value in values.items():
            if value is not None:
                setattr(dataset, keyword, value)
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    """Three instances of one series."""
    return [_write_source(tmp_path / f"source{number}.dcm", number) for number in (1, 2, 3)]


def _write(findings: Findings, sources: list[Path], out: Path) -> tuple[WrittenReport, Dataset]:
    written = write_sr(findings, _decide(findings), evidence=sources, out=out)
    with pydicom.config.disable_value_validation():
        report = pydicom.dcmread(out)
        assert len(list(report.iterall())) > 100  # decoded while nothing is checked
        return written, report


def _decide(findings: Findings) -> PolicyDecision:
    return evaluate(findings, RequestContext(), POLICY)


def _items(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", []):
        yield child
        yield from _items(child)


def _name(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeValue)


def _groups(report: Dataset) -> Mapping[str, Dataset]:
    """Measurement groups by their tracking identifiers."""
    groups = [item for item in _items(report) if _name(item) == "125007"]
    return {
        next(child.TextValue for child in group.ContentSequence if _name(child) == "112039"): group for group in groups
    }


def _numbers(group: Dataset) -> dict[str, tuple[float, str]]:
    """Values and UCUM units of a group by code."""
    return {
        _name(item): (
            float(item.MeasuredValueSequence[0].NumericValue),
            item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue,
        )
        for item in group.ContentSequence
        if item.ValueType == "NUM"
    }


def _codes(group: Dataset) -> dict[str, str]:
    """Coded judgements of a group by the code of their names."""
    return {
        _name(item): item.ConceptCodeSequence[0].CodeValue for item in group.ContentSequence if item.ValueType == "CODE"
    }


def _texts(report: Dataset) -> list[str]:
    return [item.TextValue for item in _items(report) if _name(item) == "121106"]


def test_values_and_units_are_those_of_the_findings(sources: list[Path], tmp_path: Path) -> None:
    """Every figure comes back from the file with its unit, to three decimals."""
    _, report = _write(_findings(), sources, tmp_path / "sr.dcm")
    groups = _groups(report)
    assert _numbers(groups["Lungs as a whole"]) == {
        "BURDEN": (10.003, "%"),
        "GGO_PERCENT": (7.503, "%"),
        "HIGH_PERCENT": (2.5, "%"),
        "PO": (10.003, "%"),
        "PHO": (2.5, "%"),
        "PHO_HU": (1.25, "%"),
    }
    assert _numbers(groups["Right lung"]) == {"118565006": (2200.0, "cm3"), "PERCENT_OF_LUNG": (11.818, "%")}
    assert _numbers(groups["Ground-glass opacity, left lung"]) == {
        "118565006": (100.123, "cm3"),
        "PERCENT_OF_LUNG": (5.562, "%"),
    }
    assert _numbers(groups["All opacities, both lungs"]) == {
        "118565006": (400.123, "cm3"),
        "OPACITY_COUNT": (7.0, "1"),
        "112181": (-512.346, "[hnsf'U]"),
        "112183": (140.25, "[hnsf'U]"),
    }


def test_judgements_of_a_flagged_series(sources: list[Path], tmp_path: Path) -> None:
    """Present, mild, diagnostic, category 3, incidental; unverified, and for research."""
    _, report = _write(_findings(), sources, tmp_path / "sr.dcm")
    judgements = _codes(_groups(report)["Lungs as a whole"])
    assert judgements["112033"] == "52101004"
    assert judgements["246112005"] == "255604002"
    assert judgements["111101"] == "RID12"
    assert judgements["ACTIONABLE"] == "RID49482"
    assert judgements["INCIDENTAL"] == "373066001"
    assert report.VerificationFlag == "UNVERIFIED"
    assert report.PreliminaryFlag == "PRELIMINARY"
    assert wording.RESEARCH_USE in _texts(report)


def test_a_negative_series_gets_a_report_too(sources: list[Path], tmp_path: Path) -> None:
    """Absent, no severity, its quality, no category, and a sentence that promises nothing."""
    quality = Quality(
        level=QualityLevel.LIMITED, reasons=("noise of 60 HU",), lung_coverage_percent=91.5, noise_hu=60.0
    )
    _, report = _write(_negative(quality=quality), sources, tmp_path / "sr.dcm")
    group = _groups(report)["Lungs as a whole"]
    judgements = _codes(group)
    assert (judgements["112033"], judgements["246112005"], judgements["111101"]) == ("272519000", "260413007", "RID13")
    assert "ACTIONABLE" not in judgements
    assert _numbers(group)["LUNG_COVERAGE"] == (91.5, "%")
    assert _codes(_groups(report)["Ground-glass opacity, both lungs"])["112120"] == "272519000"
    assert any("does not exclude disease" in text for text in _texts(report))


def test_images_that_cannot_be_analysed_leave_presence_undetermined(sources: list[Path], tmp_path: Path) -> None:
    """Neither present nor absent, and no severity."""
    _, report = _write(_findings(quality=Quality(level=QualityLevel.NOT_ANALYSABLE)), sources, tmp_path / "sr.dcm")
    judgements = _codes(_groups(report)["Lungs as a whole"])
    assert (judgements["112033"], judgements["111101"]) == ("373068000", "RID14")
    assert "246112005" not in judgements


def test_lobes_and_scores_are_there_when_known_and_missed_aloud(sources: list[Path], tmp_path: Path) -> None:
    """With lobes: a group for each and both scores. Without: neither, and the report says why."""
    _, without = _write(_findings(), sources, tmp_path / "without.dcm")
    assert "LSS" not in _numbers(_groups(without)["Lungs as a whole"])
    assert wording.NO_LOBES in _texts(without)
    lobes = {lobe: _region(800.0, 60.0, 20.0) for lobe in Lobe}
    _, report = _write(_findings(lobes=lobes, lss=5, lhos=0), sources, tmp_path / "with.dcm")
    groups = _groups(report)
    assert _numbers(groups["Lungs as a whole"])["LSS"] == (5.0, "{score}")
    assert _numbers(groups["Lungs as a whole"])["LHOS"] == (0.0, "{score}")
    assert _numbers(groups["Left upper lobe"])["PERCENT_OF_LUNG"] == (10.0, "%")
    assert wording.NO_LOBES not in _texts(report)


def test_the_library_holds_referenced_slices_and_the_evidence_all(sources: list[Path], tmp_path: Path) -> None:
    """One library entry for each key slice; every source instance is listed once as evidence."""
    findings = _findings(key_slices=(_key_slice(f"{SERIES}.2", 1), _key_slice(f"{SERIES}.3", 2)))
    _, report = _write(findings, [*sources, sources[0]], tmp_path / "sr.dcm")
    library = next(item for item in _items(report) if _name(item) == "126200")
    entries = [item for item in library.ContentSequence if item.ValueType == "IMAGE"]
    uids = [entry.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for entry in entries]
    assert uids == [f"{SERIES}.2", f"{SERIES}.3"]
    listed = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert [item.ReferencedSOPInstanceUID for item in listed] == [f"{SERIES}.{number}" for number in (1, 2, 3)]


def test_key_slices_of_a_multi_frame_image_name_their_frames(tmp_path: Path) -> None:
    """One library entry for the image; each reference says which frame is meant."""
    source = _write_source(tmp_path / "a.dcm", 1, SOPClassUID=EnhancedCTImageStorage)
    slices = tuple(replace(_key_slice(f"{SERIES}.1", index), frame_number=index + 1) for index in (4, 9))
    written, report = _write(_findings(key_slices=slices), [source], tmp_path / "sr.dcm")
    library = next(item for item in _items(report) if _name(item) == "126200")
    assert len([item for item in library.ContentSequence if item.ValueType == "IMAGE"]) == 1
    group = _groups(report)["Lungs as a whole"]
    references = [item.ReferencedSOPSequence[0] for item in group.ContentSequence if item.ValueType == "IMAGE"]
    assert [reference.ReferencedFrameNumber for reference in references] == [5, 10]
    assert {reference.ReferencedSOPClassUID for reference in references} == {EnhancedCTImageStorage}
    assert "Error" not in _dciodvfy(written.path)


def test_the_same_input_gives_the_same_bytes(sources: list[Path], tmp_path: Path) -> None:
    """In any order of the sources; the dates are those of the last image and not of the writing."""
    first, report = _write(_findings(), sources, tmp_path / "first.dcm")
    second, _ = _write(_findings(), sources[::-1], tmp_path / "second.dcm")
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.sha256 == second.sha256
    assert (report.ContentDate, report.ContentTime) == ("20200305", "145603")
    assert "InstanceCreationTime" not in report


def test_a_new_revision_is_another_report_in_another_series(sources: list[Path], tmp_path: Path) -> None:
    """It supersedes, and a re-run of the same revision replaces."""
    first, report = _write(_findings(), sources, tmp_path / "1.dcm")
    again, _ = _write(_findings(lesion_mean_hu=-512.0), sources, tmp_path / "again.dcm")
    second, newer = _write(_findings(revision=2), sources, tmp_path / "2.dcm")
    assert first.sop_instance_uid == again.sop_instance_uid == report.SOPInstanceUID
    assert second.sop_instance_uid != first.sop_instance_uid
    assert len({SERIES, report.SeriesInstanceUID, newer.SeriesInstanceUID}) == 3


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        ("ISO_IR 100", "Müller^Jürgen"),
        ("ISO_IR 192", "山田^太郎"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("GB18030", "王^小东"),
    ],
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_names_of_every_script_survive(character_set: Any, name: str, syntax: str, tmp_path: Path) -> None:
    """The patient's name is that of the images, in their character set."""
    source = _write_source(tmp_path / "a.dcm", 1, syntax=syntax, SpecificCharacterSet=character_set, PatientName=name)
    _, report = _write(_findings(), [source], tmp_path / "sr.dcm")
    assert str(report.PatientName) == name
    assert report.get_item("SpecificCharacterSet") is not None
    assert wording.RESEARCH_USE in _texts(report)


def test_bytes_outside_the_declared_character_set_are_kept(tmp_path: Path) -> None:
    """Latin-1 bytes under a UTF-8 label are wrong in the images, and exactly as wrong in the report."""
    source = _write_source(tmp_path / "a.dcm", 1, SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg")
    broken = source.read_bytes().replace(b"ISO_IR 100", b"ISO_IR 192")
    source.write_bytes(broken)
    written = write_sr(_findings(), _decide(_findings()), evidence=[source], out=tmp_path / "sr.dcm")
    assert "Müller^Jörg".encode("latin-1") in written.path.read_bytes()


@pytest.mark.parametrize("character_set", ["ISO_IR 999", "latin1", None])
def test_an_unknown_character_set_does_not_prevent_a_report(character_set: str | None, tmp_path: Path) -> None:
    """It is copied, or absent, as in the images."""
    source = _write_source(tmp_path / "a.dcm", 1, SpecificCharacterSet="ISO_IR 100")
    if character_set is not None:
        label = character_set.ljust(10).encode()
        source.write_bytes(source.read_bytes().replace(b"ISO_IR 100", label))
    else:
        _write_source(source, 1, SpecificCharacterSet=None)
    written = write_sr(_findings(), _decide(_findings()), evidence=[source], out=tmp_path / "sr.dcm")
    assert b"Example^Case" in written.path.read_bytes()


def test_missing_type_2_attributes_are_present_and_empty(tmp_path: Path) -> None:
    """A source that lacks them still gets its report, and the report is complete."""
    lacking = [
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyDate",
        "StudyTime",
        "ContentDate",
        "ContentTime",
        "StudyID",
        "AccessionNumber",
        "ReferringPhysicianName",
        "StudyDescription",
    ]
    source = _write_source(tmp_path / "a.dcm", 1, **dict.fromkeys(lacking))
    _, report = _write(_findings(), [source], tmp_path / "sr.dcm")
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyID"):
        assert keyword in report
        assert not report[keyword].value
    assert report.ContentDate == "19000101"


def test_values_that_do_not_conform_are_copied_as_they_are(tmp_path: Path) -> None:
    """UIDs with letters, an unknown sex, an impossible date: the report must find its study and patient."""
    study, series = "1.2.ANON-77", "1.2.ANON-77.x"
    source = _write_source(
        tmp_path / "a.dcm",
        1,
        StudyInstanceUID=study,
        SeriesInstanceUID=series,
        SOPInstanceUID="1.2.ANON-77.x.1",
        PatientSex="X",
        PatientBirthDate="1950",
        StudyDate="20209999",
        PatientName="A^B^C^D^E^F^G" * 9,
    )
    findings = _findings(
        study_instance_uid=study, series_instance_uid=series, key_slices=(_key_slice("1.2.ANON-77.x.1"),)
    )
    _, report = _write(findings, [source], tmp_path / "sr.dcm")
    assert report.StudyInstanceUID == study
    assert (report.PatientSex, report.PatientBirthDate) == ("X", "1950")
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0]
    assert evidence.StudyInstanceUID == study
    assert evidence.ReferencedSeriesSequence[0].SeriesInstanceUID == series


def test_a_broken_reference_of_the_source_is_left_out(tmp_path: Path) -> None:
    """A study reference without its class, as de-identification leaves it, does not make the report invalid."""
    reference = Dataset()
    reference.ReferencedSOPInstanceUID = "1.2.3"
    source = _write_source(tmp_path / "a.dcm", 1, ReferencedStudySequence=[reference])
    _, report = _write(_findings(), [source], tmp_path / "sr.dcm")
    assert "ReferencedStudySequence" not in report


def test_evidence_that_does_not_fit_is_refused(sources: list[Path], tmp_path: Path) -> None:
    """No instance, no DICOM, another series, another study, a key slice nobody has: a permanent error, and no file."""
    out = tmp_path / "sr.dcm"
    text = tmp_path / "text.dcm"
    text.write_text("not DICOM")
    foreign = _write_source(tmp_path / "b.dcm", 9, SeriesInstanceUID="1.2.9")
    cases = [
        (_findings(), []),
        (_findings(), [*sources, text]),
        (_findings(), [tmp_path / "missing.dcm"]),
        (_findings(), [*sources, foreign]),
        (_findings(study_instance_uid="1.2.8"), sources),
        (_findings(key_slices=(_key_slice("1.2.9"),)), sources),
    ]
    for findings, evidence in cases:
        with pytest.raises(UnusableEvidence) as raised:
            write_sr(findings, _decide(findings), evidence=evidence, out=out)
        assert not raised.value.transient
    assert not out.exists()


def test_a_disk_that_refuses_leaves_the_old_report(sources: list[Path], tmp_path: Path) -> None:
    """The error is transient, and no half-written file stays behind."""
    blocked = tmp_path / "folder.dcm"
    (blocked / "inside").mkdir(parents=True)
    with pytest.raises(ReportNotWritten) as raised:
        write_sr(_findings(), _decide(_findings()), evidence=sources, out=blocked)
    assert raised.value.transient
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("name", ["Findable", "Findable^M\u00fcller", "Findable^B^C^D^E^F^G" * 9])
@pytest.mark.parametrize("label", [b"ISO_IR 100", b"ISO_IR 192", b"ISO_IR 999"])
def test_no_patient_in_the_log(
    name: str, label: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not even from the libraries beneath, at any level, where a name cannot be decoded or does not conform."""
    source = _write_source(tmp_path / "a.dcm", 1, PatientName=name, PatientID="HIDDEN7", PatientBirthDate="19HIDDEN7")
    source.write_bytes(source.read_bytes().replace(b"ISO_IR 100", label))
    caplog.set_level("DEBUG")
    caplog.clear()
    write_sr(_findings(), _decide(_findings()), evidence=[source], out=tmp_path / "sr.dcm")
    streams = capfd.readouterr()
    for text in (caplog.text, streams.out, streams.err):
        assert "Findable" not in text
        assert "HIDDEN7" not in text


@pytest.fixture
def prior(tmp_path: Path) -> Prior:
    """An examination of a month before, of another study, with its report."""
    folder = tmp_path / "earlier"
    folder.mkdir()
    study, series = f"{STUDY}.77", f"{SERIES}.77"
    source = _write_source(
        folder / "a.dcm",
        1,
        StudyInstanceUID=study,
        SeriesInstanceUID=series,
        SOPInstanceUID=f"{series}.1",
        StudyDate="20200203",
        ContentDate="20200203",
    )
    findings = _findings(study_instance_uid=study, series_instance_uid=series, both_lungs=_region(4100.0, 100.0, 23.0))
    written, _ = _write(findings, [source], folder / "sr.dcm")
    return Prior(study_date="20200203", findings=findings, report_path=written.path)


def test_a_report_tells_what_has_changed_and_refers_to_the_report_of_then(
    sources: list[Path], prior: Prior, tmp_path: Path
) -> None:
    """Figures with codes of their own under the date of then, a sentence, a reference, and the evidence for it."""
    written = write_sr(_findings(), _decide(_findings()), evidence=sources, out=tmp_path / "sr.dcm", prior=prior)
    report = pydicom.dcmread(written.path)
    group = _groups(report)["Change since an earlier examination"]
    assert _numbers(group) == {
        "EARLIER_BURDEN": (3.0, "%"),
        "BURDEN_CHANGE": (7.003, "%"),
        "LUNG_CHANGE": (-100.0, "cm3"),
        "GGO_CHANGE": (200.123, "cm3"),
        "HIGH_CHANGE": (77.0, "cm3"),
    }
    (time_point,) = [item.TextValue for item in group.ContentSequence if _name(item) == "C2348792"]
    assert time_point == "2020-02-03"
    assert any("2020-02-03, 31 days before: burden 3.0 % then, 10.0 % now" in text for text in _texts(report))
    (reference,) = [item for item in _items(report) if item.ValueType == "COMPOSITE"]
    assert prior.report_path is not None
    earlier = pydicom.dcmread(prior.report_path)
    assert _name(reference) == "122075"
    assert reference.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == earlier.SOPInstanceUID
    (other,) = report.PertinentOtherEvidenceSequence
    assert other.StudyInstanceUID == earlier.StudyInstanceUID
    assert other.ReferencedSeriesSequence[0].SeriesInstanceUID == earlier.SeriesInstanceUID
    assert _numbers(_groups(report)["Lungs as a whole"])["BURDEN"] == (10.003, "%")


def test_a_prior_whose_report_is_gone_is_told_without_a_reference(
    sources: list[Path], prior: Prior, tmp_path: Path
) -> None:
    """The figures of then are in the database; only the reference is missing."""
    lost = replace(prior, report_path=tmp_path / "gone.dcm")
    out = tmp_path / "sr.dcm"
    write_sr(_findings(), _decide(_findings()), evidence=sources, out=out, prior=lost)
    report = pydicom.dcmread(out)
    assert "Change since an earlier examination" in _groups(report)
    assert [item for item in _items(report) if item.ValueType == "COMPOSITE"] == []
    assert "PertinentOtherEvidenceSequence" not in report


def test_dciodvfy_finds_no_error_in_a_comparison(sources: list[Path], prior: Prior, tmp_path: Path) -> None:
    """With time point, changes and the reference to the report of then."""
    written = write_sr(_findings(), _decide(_findings()), evidence=sources, out=tmp_path / "sr.dcm", prior=prior)
    lines = _dciodvfy(written.path).splitlines()
    assert [line for line in lines if line != "Comprehensive3DSR" and "99LUNGSENTRY" not in line] == []


def test_images_that_cannot_be_analysed_yield_no_figure_of_opacity(sources: list[Path], tmp_path: Path) -> None:
    """Lung volume and the figures of quality are there; burden, shares, counts and volumes of opacity are not."""
    quality = Quality(level=QualityLevel.NOT_ANALYSABLE, reasons=("Noise.",), noise_hu=180.0, air_hu=-990.0)
    _, report = _write(_findings(quality=quality, lss=3, lhos=0), sources, tmp_path / "sr.dcm")
    groups = _groups(report)
    assert _numbers(groups["Lungs as a whole"]) == {
        "IMAGE_NOISE": (180.0, "[hnsf'U]"),
        "OUTSIDE_AIR": (-990.0, "[hnsf'U]"),
    }
    assert _numbers(groups["Right lung"]) == {"118565006": (2200.0, "cm3")}
    assert _numbers(groups["Ground-glass opacity, left lung"]) == {}
    assert _numbers(groups["All opacities, both lungs"]) == {}
    assert not any(re.search(r"\d %|\d mL", text) for text in _texts(report))
    assert wording.NOT_MEASURED in _texts(report)


def test_lobes_in_part_and_absent_scores_are_said(sources: list[Path], tmp_path: Path) -> None:
    """Which lobe is imaged in part, and that it is why there are no scores."""
    findings = _findings(
        lobes={lobe: _region(800.0, 60.0, 20.0) for lobe in Lobe},
        lobes_in_part=(Lobe.LEFT_UPPER,),
        scores_absent_because=("The left upper lobe is imaged in part.",),
        largest_lesion_ml=120.0,
        peripheral_lesion_percent=70.0,
        peripheral_lung_percent=40.0,
    )
    _, report = _write(findings, sources, tmp_path / "sr.dcm")
    texts = _texts(report)
    assert "Left upper lobe (imaged in part)." in texts
    assert any("are not given: The left upper lobe is imaged in part." in text for text in texts)
    opacities = _numbers(_groups(report)["All opacities, both lungs"])
    assert opacities["LARGEST_OPACITY"] == (120.0, "cm3")
    assert (opacities["PERIPH_OPACITY"], opacities["PERIPH_LUNG"]) == ((70.0, "%"), (40.0, "%"))


def _dciodvfy(path: Path) -> str:
    if shutil.which("dciodvfy") is None:
        if os.environ.get("CI"):
            pytest.fail("dciodvfy (Debian package dicom3tools) is missing")
        pytest.skip("dciodvfy (Debian package dicom3tools) is missing")
    result = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    return result.stderr


@pytest.mark.parametrize(
    "findings",
    [
        _findings(key_slices=(_key_slice(f"{SERIES}.2", 1),)),
        _findings(profile=Profile.CTAC, lobes={lobe: _region(800.0, 60.0, 20.0) for lobe in Lobe}, lss=5, lhos=5),
        _negative(),
        _findings(quality=Quality(level=QualityLevel.NOT_ANALYSABLE, lung_coverage_percent=40.0, noise_hu=80.0)),
        _findings(
            quality=Quality(
                level=QualityLevel.LIMITED,
                lung_coverage_percent=40.0,
                noise_hu=80.0,
                noise_grain_mm=0.5,
                air_hu=-990.0,
                lung_hu=-840.0,
                lung_spread_hu=300.0,
                blood_hu=45.0,
                motion_jump_mm=1.2,
                cut_off_percent=0.0,
                lung_agreement=0.98,
            ),
            largest_lesion_ml=120.0,
            peripheral_lesion_percent=70.0,
            peripheral_lung_percent=40.0,
        ),
    ],
    ids=["flagged", "lobes", "negative", "not analysable", "every figure"],
)
def test_dciodvfy_finds_no_error(findings: Findings, sources: list[Path], tmp_path: Path) -> None:
    """No error, and no warning but that it does not know our private scheme."""
    written, _ = _write(findings, sources, tmp_path / "sr.dcm")
    lines = _dciodvfy(written.path).splitlines()
    unexpected = [line for line in lines if line != "Comprehensive3DSR" and "99LUNGSENTRY" not in line]
    assert unexpected == []


@pytest.mark.real_data
@pytest.mark.parametrize("case", ["covid_P001", "normal001", "philips_two_recons"])
def test_dciodvfy_finds_no_error_on_real_series(case: str, shared_data: Path, tmp_path: Path) -> None:
    """Headers of real scanners, with what de-identification did to them, give a valid report."""
    by_series: dict[str, list[Path]] = {}
    for path in sorted((shared_data / "dicom" / case).rglob("*.dcm")):
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
        by_series.setdefault(header.SeriesInstanceUID, []).append(path)
    for number, (series, paths) in enumerate(by_series.items()):
        header = pydicom.dcmread(paths[0], stop_before_pixels=True)
        findings = replace(
            _findings(),
            study_instance_uid=header.StudyInstanceUID,
            series_instance_uid=series,
            key_slices=(_key_slice(header.SOPInstanceUID),),
        )
        written, report = _write(findings, paths, tmp_path / f"{number}.dcm")
        assert "Error" not in _dciodvfy(written.path)
        assert report.PatientID == header.PatientID
        listed = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
        assert len(listed.ReferencedSOPSequence) == len(paths)
