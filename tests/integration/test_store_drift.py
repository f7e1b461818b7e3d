"""What results show in sum: week by week, and a model in shadow beside the active one."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
import store_bench
from store_bench import Bench

from analysis.findings import Quality, QualityLevel
from db import ShadowResult
from db.drift import ShadowAgreement

DAY = 24 * 3600


@pytest.fixture(params=store_bench.DATABASES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    with store_bench.opened(request.param, tmp_path) as bench:
        yield bench


def _analysed(bench: Bench, number: int, *, alert: bool, noise: float | None, burden: float) -> int:
    """A result of a study of its own, of today."""
    series = f"1.2.{number}.1"
    received = store_bench.instance(series=series, study_instance_uid=f"1.2.{number}")
    bench.store.intake.mark_complete(series, bench.store.intake.record_instance(received).revision, "in a test")
    bench.store.jobs.enqueue(series, 1, store_bench.ELIGIBLE, 3)
    job = bench.claim()
    lungs = store_bench.findings_of(job).both_lungs
    findings = replace(
        store_bench.findings_of(job),
        both_lungs=replace(lungs, ggo_volume_ml=burden * 40, high_opacity_volume_ml=0, high_density_volume_ml=0),
        quality=Quality(level=QualityLevel.DIAGNOSTIC, noise_hu=noise),
    )
    recorded = bench.store.results.record(
        job,
        job.worker or "",
        findings=findings,
        screening=store_bench.ELIGIBLE,
        decision=store_bench.decision_of(job, alert=alert),
        artefacts=store_bench.artefacts_of(f"{series}.9"),
        deliveries=[],
        seconds={"model": 1.0},
    )
    return recorded.result_id


def test_weeks_of_results(bench: Bench):
    """Medians and the share that is flagged, a line for each week from Monday on; older weeks are left out."""
    for number, (days, alert, noise, burden) in enumerate(
        [
            (0, True, 99.0, 50.0),
            (70, True, 10.0, 2.0),
            (1, False, 30.0, 4.0),
            (0, False, None, 9.0),
            (5, True, 20.0, 6.0),
        ],
        start=1,
    ):
        bench.clock.advance(days * DAY)
        _analysed(bench, number, alert=alert, noise=noise, burden=burden)
    found = bench.store.drift.weeks(4)
    assert [(one.begun, one.count, one.flagged, one.burden_percent, one.noise_hu) for one in found] == [
        (date(2026, 5, 11), 3, 1, 6.0, 25.0),
        (date(2026, 5, 4), 1, 1, 2.0, 10.0),
    ]
    assert {one.lesion_hu for one in found} == {-500.0}


def test_shadow_agrees_or_does_not(bench: Bench):
    """Of each series that both models judged: both would flag it, one of them, or none."""
    for number, (alert, would, dice) in enumerate(
        [(True, True, 0.8), (True, False, 0.4), (False, True, None), (False, False, None), (False, None, None)], start=1
    ):
        result = _analysed(bench, number, alert=alert, noise=10.0, burden=5.0)
        shadow = ShadowResult(
            name="other", version="2.0", sha256="1" * 64, findings=None, would_alert=would, lesion_dice=dice,
            cause=None if would is not None else "it failed", seconds=1.0,
        )  # fmt: skip
        bench.store.models.record_shadow(result, shadow, "w")
    agreement = bench.store.drift.shadow("other@2.0")
    assert replace(agreement, dice=None) == ShadowAgreement(
        both=1, shadow_only=1, active_only=1, neither=1, failed=1, dice=None
    )
    assert agreement.dice == pytest.approx(0.6)
    assert agreement.count == 4
    assert bench.store.drift.shadow("unknown@1").count == 0
