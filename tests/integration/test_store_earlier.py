"""Earlier examinations of the same patient, on both databases."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from store_bench import DATABASES, ELIGIBLE, PATIENT, SERIES, Bench, instance, opened


@pytest.fixture(params=DATABASES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """A bench on each database."""
    with opened(request.param, tmp_path) as made:
        yield made


def _examined(bench: Bench, study: str, date: str, *, patient: str = PATIENT, series: str = "") -> str:
    """A study of one analysed series; the series' UID."""
    uid = series or f"{study}.1"
    received = instance(
        series=uid, study_instance_uid=study, patient_id=patient, header={"slice_position_mm": 1.0, "study_date": date}
    )
    revision = bench.store.intake.record_instance(received).revision
    bench.store.intake.mark_complete(uid, revision, "in a test")
    bench.store.jobs.enqueue(uid, revision, ELIGIBLE, 3)
    bench.record(bench.claim())
    return uid


def test_results_of_earlier_studies_of_the_patient_come_latest_first(bench: Bench) -> None:
    """Of other patients, of the same or a later date, of the same study: none."""
    _examined(bench, "1.9.1", "20200101")
    _examined(bench, "1.9.2", "20210101")
    _examined(bench, "1.9.3", "20210101", patient="somebody else")
    own = _examined(bench, "1.9.4", "20220101")
    _examined(bench, "1.9.4", "20220101", series="1.9.4.2")
    _examined(bench, "1.9.5", "20220101")
    _examined(bench, "1.9.6", "20230101")
    earlier = bench.store.results.earlier(own)
    assert [(one.study_date, one.result.series_instance_uid) for one in earlier] == [
        ("20210101", "1.9.2.1"),
        ("20200101", "1.9.1.1"),
    ]
    assert earlier[0].result.findings.burden_percent == 10


def test_superseded_results_are_not_compared_with(bench: Bench) -> None:
    """Of an earlier series that was analysed twice, the result in force counts."""
    first = _examined(bench, "1.9.1", "20200101")
    own = _examined(bench, "1.9.2", "20210101")
    renewed = bench.record(bench.again(first), version="2.0")
    (one,) = bench.store.results.earlier(own)
    assert (one.result.id, one.result.findings.provenance.model_version) == (renewed.result_id, "2.0")


@pytest.mark.parametrize(("patient", "date"), [("", "20210101"), (PATIENT, ""), ("  ", "20210101")])
def test_nobody_knows_without_a_patient_or_a_date(bench: Bench, patient: str, date: str) -> None:
    """Two studies without a Patient ID are not of one patient; without a date nothing is earlier."""
    _examined(bench, "1.9.1", "20200101", patient=patient)
    assert bench.store.results.earlier(_examined(bench, "1.9.2", date, patient=patient)) == ()
    assert bench.store.results.earlier(SERIES) == ()
