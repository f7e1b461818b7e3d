"""Two examinations of one patient through triage and worker: the second report is compared with the first."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import node_harness as harness
import pydicom
import pytest
from model_sets import models_with
from threshold_segmenter import ThresholdSegmenter

from analysis.pipeline import AnalysedSeries, ExcludedSeries, analyse
from analysis.series import Series
from db import Store, StoredResult
from dicom_node.composition import worker_with
from dicom_node.node import prepare
from dicom_node.settings import Settings
from dicom_node.simulator import PhantomSpec, build_phantom, header_for, write_series


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A node of its own."""
    return harness.quick_settings(tmp_path / "node")


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    """Its store."""
    prepare(settings)
    with Store.open(settings.database_url) as opened:
        yield opened


def _analyse(series: Series, progress: Callable[[str], None]) -> AnalysedSeries | ExcludedSeries:
    return analyse(series, models=models_with(ThresholdSegmenter()), progress=progress)


def _examine(settings: Settings, store: Store, folder: Path, *, ggo_ml: float, study_date: str) -> StoredResult:
    """Receive, screen and analyse an attenuation-correction CT of the patient; the result in force."""
    phantom = build_phantom(PhantomSpec.ctac_opacities(matrix=128, ggo_ml=ggo_ml, high_opacity_ml=40.0))
    paths = write_series(phantom, folder, header_for(phantom, salt=study_date, study_date=study_date))
    named = [path.rename(path.with_name(f"{study_date}-{path.name}")) for path in paths]
    uid = harness.index(settings, store, named)
    triage = harness.triage_of(settings, store)
    for unit in (*triage.completions(),):
        unit.run()
    for unit in (*triage.screenings(),):
        unit.run()
    job = store.jobs.claim("worker", 600)
    assert job is not None
    worker_with(settings=settings, store=store, analyse=_analyse, name="worker").run_job(job, threading.Event())
    result = store.results.latest(uid)
    assert result is not None, store.jobs.get(job.id).cause
    return result


def test_the_second_report_tells_what_has_changed_since_the_first(
    settings: Settings, store: Store, tmp_path: Path
) -> None:
    """The difference of the two results, the date of the first, and a reference to its report; the first has none."""
    first = _examine(settings, store, tmp_path / "first", ggo_ml=100.0, study_date="20260102")
    second = _examine(settings, store, tmp_path / "second", ggo_ml=350.0, study_date="20260202")
    (earlier,) = store.results.earlier(second.series_instance_uid)
    assert (earlier.study_date, earlier.result.id) == ("20260102", first.id)
    before, after = (pydicom.dcmread(settings.results_dir / one.report.path) for one in (first, second))
    assert "PertinentOtherEvidenceSequence" not in before
    (other,) = after.PertinentOtherEvidenceSequence
    assert other.StudyInstanceUID == before.StudyInstanceUID
    (series,) = other.ReferencedSeriesSequence
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first.report.sop_instance_uid
    points = second.findings.burden_percent - first.findings.burden_percent
    assert points > 2
    texts = [element.value for element in after.iterall() if element.keyword == "TextValue"]
    (sentence,) = [text for text in texts if text.startswith("Compared with the examination of 2026-01-02, 31 days")]
    assert f"({points:+.1f} points)" in sentence
