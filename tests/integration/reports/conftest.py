"""Sources of a report, and an examination before them."""

from pathlib import Path

import pytest
from sr_reports import SERIES, STUDY, make_findings, region_of, write_report, write_source

from alerts import Prior


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    """Three instances of one series."""
    return [write_source(tmp_path / f"source{number}.dcm", number) for number in (1, 2, 3)]


@pytest.fixture
def prior(tmp_path: Path) -> Prior:
    """An examination of a month before, of another study, with its report."""
    folder = tmp_path / "earlier"
    folder.mkdir()
    study, series = f"{STUDY}.77", f"{SERIES}.77"
    source = write_source(
        folder / "a.dcm",
        1,
        StudyInstanceUID=study,
        SeriesInstanceUID=series,
        SOPInstanceUID=f"{series}.1",
        StudyDate="20200203",
        ContentDate="20200203",
    )
    findings = make_findings(
        study_instance_uid=study, series_instance_uid=series, both_lungs=region_of(4100.0, 100.0, 23.0)
    )
    write_report(findings, [source], folder / "sr.dcm")
    return Prior(study_date="20200203", findings=findings, report_path=folder / "sr.dcm")
