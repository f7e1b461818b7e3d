"""PixelMed's validator judges the content tree against TID 1500."""

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import SegmentationStorage

from alerts import AlertPolicy, Prior, ProfileThresholds, RequestContext, evaluate
from alerts.reports import Evidence, SegmentReference, read_evidence, structured_report
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


def _segments(findings: Findings, sources: Evidence) -> dict[str, SegmentReference]:
    """A segment for the lesions and a lobe."""
    instance = replace(
        sources.instances[0],
        sop_class_uid=SegmentationStorage,
        sop_instance_uid=f"{STUDY}.9.1",
        study_instance_uid=findings.study_instance_uid,
        series_instance_uid=f"{STUDY}.9",
    )
    tracked = ("Ground-glass opacity, both lungs", "Right upper lobe")
    return {name: SegmentReference(instance=instance, number=number) for number, name in enumerate(tracked, start=1)}


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
    sources = read_evidence([source], series_instance_uid=findings.series_instance_uid)
    prior_sources = read_evidence([prior_source], series_instance_uid=earlier.series_instance_uid)
    then.write_bytes(structured_report(earlier, decision, sources=prior_sources).content)
    superseded.write_bytes(structured_report(findings, decision, sources=sources).content)
    prior = Prior(study_date="20200101", findings=earlier, report_path=then)
    report = structured_report(
        findings, decision, sources=sources, segments=_segments(findings, sources), prior=prior, in_force=superseded
    )
    now.write_bytes(report.content)
    command = ["java", *NO_LIMITS, "-cp", str(JAR), "com.pixelmed.validate.DicomSRValidator", str(now)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    text = result.stdout + result.stderr
    assert "IOD validation complete" in text
    assert "Root Template Validation Complete" in text
    without_segment = _groups_without_segment(pydicom.dcmread(now))
    assert len(without_segment) > 10
    told = [line for line in text.splitlines() if not _of_another_template(line, without_segment)]
    assert not [line for line in told if re.search(r"^Error|illegal relationship|Exception", line)], told


def _groups_without_segment(report: pydicom.Dataset) -> set[str]:
    """The places of the measurement groups that name TID 1501, as the validator counts them."""
    (place, groups), *_ = (
        (number, item.ContentSequence)
        for number, item in enumerate(report.ContentSequence, start=1)
        if item.ConceptNameCodeSequence[0].CodeValue == "126010"
    )
    return {
        f"1.{place}.{number}"
        for number, group in enumerate(groups, start=1)
        if group.ContentTemplateSequence[0].TemplateIdentifier == "1501"
    }


def _of_another_template(line: str, groups: set[str]) -> bool:
    """Where one group follows TID 1411, the validator asks all others too for what that needs: a region or segment."""
    missing = re.match(r"Error: Template 1411 .* within ([\d.]+): .*: Missing conditional content item$", line)
    return missing is not None and missing[1] in groups
