"""Findings, sources and the parts of a structured report that tests read."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from alerts import AlertPolicy, Draft, PolicyDecision, ProfileThresholds, RequestContext, evaluate
from alerts.reports import read_evidence, structured_report
from analysis.findings import Findings, KeySlice, Profile, Provenance, Quality, QualityLevel, RegionFindings

STUDY = "1.2.826.0.1.3680043.10.1"
SERIES = "1.2.826.0.1.3680043.10.1.2"
POLICY = AlertPolicy(
    thresholds=dict.fromkeys(Profile, ProfileThresholds(burden_percent=1.0, lesion_volume_ml=5.0)),
    expected_words=("covid",),
)


def region_of(lung_ml: float, ggo_ml: float, high_ml: float) -> RegionFindings:
    return RegionFindings(
        lung_volume_ml=lung_ml, ggo_volume_ml=ggo_ml, high_opacity_volume_ml=high_ml, high_density_volume_ml=high_ml / 2
    )


def make_findings(**changes: Any) -> Findings:
    values: dict[str, Any] = {
        "study_instance_uid": STUDY,
        "series_instance_uid": SERIES,
        "revision": 1,
        "profile": Profile.CHEST_CT,
        "profile_cues": (),
        "slice_count": 3,
        "both_lungs": region_of(4000.0, 300.1234, 100.0),
        "right_lung": region_of(2200.0, 200.0, 60.0),
        "left_lung": region_of(1800.0, 100.1234, 40.0),
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


def negative_findings(**changes: Any) -> Findings:
    nothing = {
        "both_lungs": region_of(4000.0, 0.0, 0.0),
        "right_lung": region_of(2200.0, 0.0, 0.0),
        "left_lung": region_of(1800.0, 0.0, 0.0),
        "lesion_count": 0,
        "lesion_mean_hu": None,
        "lesion_sd_hu": None,
    }
    return make_findings(**(nothing | changes))


def make_key_slice(uid: str, index: int = 0) -> KeySlice:
    return KeySlice(
        sop_instance_uid=uid,
        frame_number=None,
        slice_index=index,
        position_mm=2.0 * index,
        ggo_area_mm2=10.0,
        high_opacity_area_mm2=1.0,
    )


def write_source(path: Path, number: int, *, syntax: str = ExplicitVRLittleEndian, **changes: Any) -> Path:
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


def write_sr(
    findings: Findings,
    evidence: list[Path],
    out: Path,
    *,
    derived: Mapping[Path, Mapping[str, str]] | None = None,
    **further: Any,
) -> Draft:
    """Write the report on ``findings``."""
    sources = read_evidence(evidence, series_instance_uid=findings.series_instance_uid, derived=derived)
    report = structured_report(findings, decide(findings), sources=sources, **further)
    out.write_bytes(report.content)
    return report


def write_report(findings: Findings, sources: list[Path], out: Path, **further: Any) -> tuple[Draft, Dataset]:
    written = write_sr(findings, sources, out, **further)
    with pydicom.config.disable_value_validation():
        report = pydicom.dcmread(out)
        assert len(list(report.iterall())) > 100  # decoded while nothing is checked
        return written, report


def decide(findings: Findings) -> PolicyDecision:
    return evaluate(findings, RequestContext(), POLICY)


def content_items(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", []):
        yield child
        yield from content_items(child)


def name_code(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeValue)


def measurement_groups(report: Dataset) -> Mapping[str, Dataset]:
    """Measurement groups by their tracking identifiers."""
    groups = [item for item in content_items(report) if name_code(item) == "125007"]
    return {
        next(child.TextValue for child in group.ContentSequence if name_code(child) == "112039"): group
        for group in groups
    }


def numbers_of(group: Dataset) -> dict[str, tuple[float, str]]:
    """Values and UCUM units of a group by code."""
    return {
        name_code(item): (
            float(item.MeasuredValueSequence[0].NumericValue),
            item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue,
        )
        for item in group.ContentSequence
        if item.ValueType == "NUM"
    }


def codes_of(group: Dataset) -> dict[str, str]:
    """Coded judgements of a group by the code of their names."""
    return {
        name_code(item): item.ConceptCodeSequence[0].CodeValue
        for item in group.ContentSequence
        if item.ValueType == "CODE"
    }


def texts_of(report: Dataset) -> list[str]:
    return [item.TextValue for item in content_items(report) if name_code(item) == "121106"]


def dciodvfy(path: Path) -> str:
    if shutil.which("dciodvfy") is None:
        if os.environ.get("CI"):
            pytest.fail("dciodvfy (Debian package dicom3tools) is missing")
        pytest.skip("dciodvfy (Debian package dicom3tools) is missing")
    result = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    return result.stderr


def unexpected(lines: list[str], iod: str) -> list[str]:
    """The lines of dciodvfy but the name of the IOD, and what dciodvfy does not know.

    That is the private scheme, and the device UID of contributing equipment, which is younger than dciodvfy.
    """
    known = ("99LUNGSENTRY", "UI Device UID", "this is a Standard Extended SOP Class")
    return [line for line in lines if line != iod and not any(part in line for part in known)]
