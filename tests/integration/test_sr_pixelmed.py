"""PixelMed's validator judges the content tree against TID 1500."""

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest

from alerts import AlertPolicy, Prior, ProfileThresholds, RequestContext, evaluate
from alerts.reports import structured_report
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

JAR = Path("/usr/share/java/pixelmed.jar")
NO_LIMITS = [f"-Djdk.xml.xpath{limit}=0" for limit in ("ExprGrpLimit", "ExprOpLimit", "TotalOpLimit")]
STUDY = "1.2.826.0.1.3680043.10.1"
REGION = RegionFindings(
    lung_volume_ml=4000.0, ggo_volume_ml=300.0, high_opacity_volume_ml=0.0, high_density_volume_ml=0.0
)


def _copy(source: Path, out: Path) -> Path:
    """The same image as one of an earlier study."""
    dataset = pydicom.dcmread(source)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = (
        f"{STUDY}.1",
        f"{STUDY}.2",
        f"{STUDY}.3",
    )
    dataset.save_as(out, enforce_file_format=False)
    return out


def _findings(header: pydicom.Dataset) -> Findings:
    """Everything a report can hold: lobes, scores, quality, periphery, a key slice, a lesion class without volume."""
    return Findings(
        study_instance_uid=header.StudyInstanceUID,
        series_instance_uid=header.SeriesInstanceUID,
        revision=1,
        profile=Profile.CTAC,
        profile_cues=("description CTAC",),
        slice_count=1,
        both_lungs=REGION,
        right_lung=REGION,
        left_lung=REGION,
        lobes=dict.fromkeys(Lobe, REGION),
        lss=5,
        lhos=0,
        lesion_count=2,
        lesion_mean_hu=-500.0,
        lesion_sd_hu=100.0,
        key_slices=(
            KeySlice(
                sop_instance_uid=header.SOPInstanceUID,
                frame_number=None,
                slice_index=0,
                position_mm=0.0,
                ggo_area_mm2=10.0,
                high_opacity_area_mm2=0.0,
            ),
        ),
        quality=Quality(
            level=QualityLevel.LIMITED,
            reasons=("noise",),
            lung_coverage_percent=90.0,
            noise_hu=40.0,
            noise_grain_mm=0.5,
            air_hu=-990.0,
            blood_hu=45.0,
            lung_agreement=0.98,
        ),
        largest_lesion_ml=200.0,
        peripheral_lesion_percent=70.0,
        peripheral_lung_percent=40.0,
        provenance=Provenance(
            model_name="opacity-convlstm",
            model_version="1.0.0",
            weights_sha256="ab" * 32,
            thresholds={"ggo": 0.5},
            runtime="torch",
            device="cpu",
            software_version="0.1.0",
        ),
    )


@pytest.mark.slow
@pytest.mark.real_data
def test_pixelmed_finds_no_error(shared_data: Path, tmp_path: Path) -> None:
    """A report with everything in it follows its templates, by what the validator prints: its exit code is mute."""
    if shutil.which("java") is None or not JAR.exists():
        if os.environ.get("CI"):
            pytest.fail("PixelMed's validator (Debian package pixelmed-apps) is missing")
        pytest.skip("PixelMed's validator (Debian package pixelmed-apps) is missing")
    source = next((shared_data / "dicom" / "covid_P001").rglob("*.dcm"))
    findings = _findings(pydicom.dcmread(source, stop_before_pixels=True))
    thresholds = dict.fromkeys(Profile, ProfileThresholds(burden_percent=1.0, lesion_volume_ml=5.0))
    policy = AlertPolicy(thresholds=thresholds, expected_words=())
    decision = evaluate(findings, RequestContext(), policy)
    earlier = replace(findings, study_instance_uid=f"{STUDY}.1", series_instance_uid=f"{STUDY}.2", key_slices=())
    prior_source = _copy(source, tmp_path / "earlier.dcm")
    then, superseded, now = (tmp_path / name for name in ("prior.dcm", "superseded.dcm", "sr.dcm"))
    then.write_bytes(structured_report(earlier, decision, evidence=[prior_source]).content)
    superseded.write_bytes(structured_report(findings, decision, evidence=[source]).content)
    prior = Prior(study_date="20200101", findings=earlier, report_path=then)
    report = structured_report(findings, decision, evidence=[source], prior=prior, in_force=superseded)
    now.write_bytes(report.content)
    command = ["java", *NO_LIMITS, "-cp", str(JAR), "com.pixelmed.validate.DicomSRValidator", str(now)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    text = result.stdout + result.stderr
    assert "IOD validation complete" in text
    assert "Root Template Validation Complete" in text
    assert not re.search(r"^Error|illegal relationship|Exception", text, re.MULTILINE), text
