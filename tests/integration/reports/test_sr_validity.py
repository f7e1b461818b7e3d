"""A structured report is judged by dciodvfy."""

from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from sr_reports import (
    SERIES,
    dciodvfy,
    make_findings,
    make_key_slice,
    negative_findings,
    region_of,
    unexpected,
    write_report,
    write_sr,
)

from alerts import Prior
from analysis.findings import Findings, Lobe, Profile, Quality, QualityLevel


def test_dciodvfy_finds_no_error_in_a_comparison(sources: list[Path], prior: Prior, tmp_path: Path) -> None:
    """With time point, changes and the reference to the report of then."""
    write_sr(make_findings(), sources, tmp_path / "sr.dcm", prior=prior)
    lines = dciodvfy(tmp_path / "sr.dcm").splitlines()
    assert unexpected(lines, "Comprehensive3DSR") == []


@pytest.mark.parametrize(
    "findings",
    [
        make_findings(key_slices=(make_key_slice(f"{SERIES}.2", 1),)),
        make_findings(profile=Profile.CTAC, lobes={lobe: region_of(800.0, 60.0, 20.0) for lobe in Lobe}, lss=5, lhos=5),
        negative_findings(),
        make_findings(quality=Quality(level=QualityLevel.NOT_ANALYSABLE, lung_coverage_percent=40.0, noise_hu=80.0)),
        make_findings(
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
    """No error, and no warning but of what it does not know."""
    write_report(findings, sources, tmp_path / "sr.dcm")
    lines = dciodvfy(tmp_path / "sr.dcm").splitlines()
    assert unexpected(lines, "Comprehensive3DSR") == []


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
            make_findings(),
            study_instance_uid=header.StudyInstanceUID,
            series_instance_uid=series,
            key_slices=(make_key_slice(header.SOPInstanceUID),),
        )
        _, report = write_report(findings, paths, tmp_path / f"{number}.dcm")
        assert "Error" not in dciodvfy(tmp_path / f"{number}.dcm")
        assert report.PatientID == header.PatientID
        listed = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
        assert len(listed.ReferencedSOPSequence) == len(paths)
