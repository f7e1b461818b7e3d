"""What has changed since an earlier examination."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts import Prior, choose_prior, compare, wording
from alerts.change import days_between, readable_date
from analysis.findings import Findings, Profile, Quality, QualityLevel, RegionFindings

FindingsFactory = Callable[..., Findings]
_UNUSABLE = Quality(level=QualityLevel.NOT_ANALYSABLE, reasons=("Too little of the lungs is imaged.",))


@given(parts=st.lists(st.tuples(st.floats(1, 8000), st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=2))
def test_a_change_is_later_less_earlier(
    parts: list[tuple[float, float, float]], make_findings: FindingsFactory
) -> None:
    """Burden in points and every volume in mL; swapped, all of it changes its sign."""
    regions = []
    for lung_ml, share, high in parts:
        lesion_ml = lung_ml * share
        regions.append((lung_ml, lesion_ml * (1 - high), lesion_ml * high))
    findings = [make_findings(lung_ml=lung, ggo_ml=ggo, high_ml=high) for lung, ggo, high in regions]
    forth, back = compare(findings[1], findings[0]), compare(findings[0], findings[1])
    assert forth is not None
    assert back is not None
    assert forth.lesion_volume_ml == pytest.approx(sum(regions[1][1:]) - sum(regions[0][1:]), abs=1e-6)
    assert forth.burden_points == pytest.approx(100 * (parts[1][1] - parts[0][1]), abs=1e-6)
    for name in ("burden_points", "lung_volume_ml", "ggo_volume_ml", "high_opacity_volume_ml"):
        assert getattr(forth, name) == pytest.approx(-getattr(back, name))


def test_what_makes_two_examinations_hard_to_compare_is_said(make_findings: FindingsFactory) -> None:
    """Another kind, a part of the lungs, another breath, another model: a sentence each; alike, none."""
    later = make_findings()
    alike = compare(later, make_findings(ggo_ml=100.0))
    assert alike is not None
    assert alike.caveats == ()
    earlier = make_findings(
        lung_ml=3000.0,
        profile=Profile.CTAC,
        quality=Quality(level=QualityLevel.LIMITED, lung_coverage_percent=60.0),
        provenance=replace(later.provenance, weights_sha256="cd" * 32),
    )
    change = compare(later, earlier)
    assert change is not None
    assert len(change.caveats) == 4
    assert "3000 mL then, 4000 mL now" in " ".join(change.caveats)


def test_images_that_cannot_be_analysed_are_not_compared(make_findings: FindingsFactory) -> None:
    """Neither way, and the sentence says so without a figure."""
    usable, unusable = make_findings(), make_findings(quality=_UNUSABLE)
    assert compare(usable, unusable) is None
    assert compare(unusable, usable) is None
    text = wording.change_sentence(usable, Prior(study_date="20200101", findings=unusable), study_date="20200131")
    assert text.startswith("Not compared with the examination of 2020-01-01, 30 days before")
    assert "%" not in text


def test_the_prior_is_the_latest_of_the_same_kind(make_findings: FindingsFactory) -> None:
    """Before a later one of another kind; one that could not be analysed never."""

    def prior(date: str, **changes: Any) -> Prior:
        return Prior(study_date=date, findings=make_findings(**changes))

    old, latest = prior("20200101"), prior("20210101")
    other, broken = prior("20220101", profile=Profile.CTAC), prior("20230101", quality=_UNUSABLE)
    findings = make_findings()
    assert choose_prior(findings, (old, latest, other, broken)) is latest
    assert choose_prior(findings, (other, broken)) is other
    assert choose_prior(findings, (broken,)) is None
    assert choose_prior(make_findings(quality=_UNUSABLE), (old,)) is None


def test_the_sentence_names_date_figures_and_caveats(make_findings: FindingsFactory) -> None:
    """A reader sees when, how much then, how much now, and the difference with its sign."""
    prior = Prior(study_date="20260131", findings=make_findings(ggo_ml=100.0, high_ml=20.0, lung_ml=4100.0))
    text = wording.change_sentence(make_findings(), prior, study_date="20260302")
    assert text == (
        "Compared with the examination of 2026-01-31, 30 days before: burden 2.9 % then, 10.0 % now (+7.1 points); "
        "ground-glass opacity +200 mL, high opacity +80 mL, lung -100 mL."
    )


@pytest.mark.parametrize(
    ("earlier", "later", "days"),
    [("20200228", "20200301", 2), ("20200101", "20200101", 0), ("", "20200101", None), ("2020", "20200101", None)],
)
def test_days_are_counted_where_both_dates_are_dates(earlier: str, later: str, days: int | None) -> None:
    """A leap year counts; an unknown or broken date gives no number."""
    assert days_between(earlier, later) == days


def test_a_date_that_is_none_is_shown_as_it_stands() -> None:
    """Nothing is made up."""
    assert [readable_date(date) for date in ("20260131", "2026", "")] == ["2026-01-31", "2026", "unknown date"]


def test_a_region_of_zero_lung_compares(
    make_findings: FindingsFactory, make_region: Callable[..., RegionFindings]
) -> None:
    """No lung at all in both: no caveat about breath, and no division by zero."""
    nothing = make_findings(both_lungs=make_region(0.0, 0.0, 0.0))
    change = compare(nothing, nothing)
    assert change is not None
    assert (change.burden_points, change.caveats) == (0, ())
