"""A structured report takes over what its sources say, however odd, and refuses what does not belong."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from sr_reports import make_findings, make_key_slice, texts_of, write_report, write_source, write_sr

from alerts import UnusableEvidence, wording


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
    source = write_source(tmp_path / "a.dcm", 1, syntax=syntax, SpecificCharacterSet=character_set, PatientName=name)
    _, report = write_report(make_findings(), [source], tmp_path / "sr.dcm")
    assert str(report.PatientName) == name
    assert report.get_item("SpecificCharacterSet") is not None
    assert wording.RESEARCH_USE in texts_of(report)


def test_bytes_outside_the_declared_character_set_are_kept(tmp_path: Path) -> None:
    """Latin-1 bytes under a UTF-8 label are wrong in the images, and exactly as wrong in the report."""
    source = write_source(tmp_path / "a.dcm", 1, SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg")
    broken = source.read_bytes().replace(b"ISO_IR 100", b"ISO_IR 192")
    source.write_bytes(broken)
    written = write_sr(make_findings(), [source], tmp_path / "sr.dcm")
    assert "Müller^Jörg".encode("latin-1") in written.content


@pytest.mark.parametrize("character_set", ["ISO_IR 999", "latin1", None])
def test_an_unknown_character_set_does_not_prevent_a_report(character_set: str | None, tmp_path: Path) -> None:
    """It is copied, or absent, as in the images."""
    source = write_source(tmp_path / "a.dcm", 1, SpecificCharacterSet="ISO_IR 100")
    if character_set is not None:
        label = character_set.ljust(10).encode()
        source.write_bytes(source.read_bytes().replace(b"ISO_IR 100", label))
    else:
        write_source(source, 1, SpecificCharacterSet=None)
    written = write_sr(make_findings(), [source], tmp_path / "sr.dcm")
    assert b"Example^Case" in written.content


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
    source = write_source(tmp_path / "a.dcm", 1, **dict.fromkeys(lacking))
    written = datetime(2026, 3, 2, 10, 15, tzinfo=UTC).timestamp()
    os.utime(source, (written, written))
    _, report = write_report(make_findings(), [source], tmp_path / "sr.dcm")
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyID"):
        assert keyword in report
        assert not report[keyword].value
    assert (report.ContentDate, report.ContentTime) == ("20260302", "101500")


@pytest.mark.parametrize(
    ("date", "time", "expected"),
    [
        ("2026.03.02", "10:15:30", ("20260302", "101530")),
        ("20260302", "1015", ("20260302", "101500")),
        ("20260302", "", ("20260302", "000000")),
        ("20260302", "9999", ("20260302", "000000")),
    ],
)
def test_a_date_in_an_old_form_is_the_date_of_the_report(
    tmp_path: Path, date: str, time: str, expected: tuple[str, str]
) -> None:
    """Dots and colons, hours and minutes alone: the report bears the day and time that were meant, never 1900."""
    kinds = ("Content", "Acquisition", "Series", "Study")
    source = write_source(
        tmp_path / "a.dcm", 1, **{f"{kind}Date": date for kind in kinds}, **{f"{kind}Time": time for kind in kinds}
    )
    _, report = write_report(make_findings(), [source], tmp_path / "sr.dcm")
    assert (report.ContentDate, report.ContentTime) == expected


def test_values_that_do_not_conform_are_copied_as_they_are(tmp_path: Path) -> None:
    """UIDs with letters, an unknown sex, an impossible date: the report must find its study and patient."""
    study, series = "1.2.ANON-77", "1.2.ANON-77.x"
    source = write_source(
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
    findings = make_findings(
        study_instance_uid=study, series_instance_uid=series, key_slices=(make_key_slice("1.2.ANON-77.x.1"),)
    )
    _, report = write_report(findings, [source], tmp_path / "sr.dcm")
    assert report.StudyInstanceUID == study
    assert (report.PatientSex, report.PatientBirthDate) == ("X", "1950")
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0]
    assert evidence.StudyInstanceUID == study
    assert evidence.ReferencedSeriesSequence[0].SeriesInstanceUID == series


def test_a_broken_reference_of_the_source_is_left_out(tmp_path: Path) -> None:
    """A study reference without its class, as de-identification leaves it, does not make the report invalid."""
    reference = Dataset()
    reference.ReferencedSOPInstanceUID = "1.2.3"
    source = write_source(tmp_path / "a.dcm", 1, ReferencedStudySequence=[reference])
    _, report = write_report(make_findings(), [source], tmp_path / "sr.dcm")
    assert "ReferencedStudySequence" not in report


def test_evidence_that_does_not_fit_is_refused(sources: list[Path], tmp_path: Path) -> None:
    """No instance, no DICOM, another series, another study, a key slice nobody has: a permanent error, and no file."""
    out = tmp_path / "sr.dcm"
    text = tmp_path / "text.dcm"
    text.write_text("not DICOM")
    foreign = write_source(tmp_path / "b.dcm", 9, SeriesInstanceUID="1.2.9")
    cases = [
        (make_findings(), []),
        (make_findings(), [*sources, text]),
        (make_findings(), [tmp_path / "missing.dcm"]),
        (make_findings(), [*sources, foreign]),
        (make_findings(study_instance_uid="1.2.8"), sources),
        (make_findings(key_slices=(make_key_slice("1.2.9"),)), sources),
    ]
    for findings, evidence in cases:
        with pytest.raises(UnusableEvidence) as raised:
            write_sr(findings, evidence, out)
        assert not raised.value.transient
    assert not out.exists()


@pytest.mark.parametrize("name", ["Findable", "Findable^M\u00fcller", "Findable^B^C^D^E^F^G" * 9])
@pytest.mark.parametrize("label", [b"ISO_IR 100", b"ISO_IR 192", b"ISO_IR 999"])
def test_no_patient_in_the_log(
    name: str, label: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not even from the libraries beneath, at any level, where a name cannot be decoded or does not conform."""
    source = write_source(tmp_path / "a.dcm", 1, PatientName=name, PatientID="HIDDEN7", PatientBirthDate="19HIDDEN7")
    source.write_bytes(source.read_bytes().replace(b"ISO_IR 100", label))
    caplog.set_level("DEBUG")
    caplog.clear()
    write_sr(make_findings(), [source], tmp_path / "sr.dcm")
    streams = capfd.readouterr()
    for text in (caplog.text, streams.out, streams.err):
        assert "Findable" not in text
        assert "HIDDEN7" not in text
