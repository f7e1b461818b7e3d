"""Statistics of an evaluation against values computed by hand."""

import math

import pytest

from analysis.evaluation import statistics


def test_agreement_of_three_pairs():
    """Correlations, bias and limits of agreement are those of the textbook formulas."""
    found = statistics.agreement([1, 2, 3], [1, 2, 6])
    assert found is not None
    assert found["pearson_r2"] == pytest.approx(25 / 28)
    assert found["spearman_rho"] == pytest.approx(1)
    assert found["bias"] == pytest.approx(-1)
    assert found["limits_of_agreement"] == pytest.approx([-1 - 1.96 * math.sqrt(3), -1 + 1.96 * math.sqrt(3)])
    assert (found["mean_absolute_error"], found["largest_absolute_error"]) == (pytest.approx(1), 3)


def test_agreement_without_spread_or_pairs_has_no_correlation():
    """Where one side does not vary there is no correlation, and of two pairs nothing is said."""
    found = statistics.agreement([0, 0, 0], [1, 2, 3])
    assert found is not None
    assert found["pearson_r2"] is None
    assert found["spearman_rho"] is None
    assert statistics.agreement([1, 2], [1, 2]) is None


def test_auroc_counts_pairs_in_order():
    """Three of four pairs of patient and control are in order; the interval holds the value and is reproducible."""
    assert statistics.auroc([1, 3], [0, 2]) == pytest.approx(0.75)
    patients, controls = [1.0, 3, 5, 7, 2], [0.0, 2, 1, 4]
    one, other = (statistics.discrimination(patients, controls) for _ in range(2))
    assert one is not None
    assert one == other
    low, high = one["auroc_ci95"]
    assert low < one["auroc"] < high <= 1
    assert statistics.discrimination([], [1.0]) is None


def test_operating_point_at_95_percent_sensitivity():
    """Of 20 patients one may be missed: the threshold lies between the lowest one called and the next lower case."""
    point = statistics.operating_point(list(range(1, 21)), [0.5, 1.5, 2.5])
    assert point is not None
    assert point.threshold_percent == pytest.approx(1.75)
    assert point.sensitivity_percent == pytest.approx(95)
    assert point.specificity_percent == pytest.approx(200 / 3)
    called = statistics.at_threshold(list(range(1, 21)), [0.5, 1.5, 2.5], point.threshold_percent)
    assert called["sensitivity_percent"] == pytest.approx(point.sensitivity_percent)
    assert called["specificity_percent"] == pytest.approx(point.specificity_percent)


def test_operating_point_of_few_patients_misses_none():
    """Eleven of twelve are less than 95 %, so all twelve are called."""
    point = statistics.operating_point([2.0] + [10.0] * 11, [1.0, 0.0])
    assert point is not None
    assert (point.threshold_percent, point.sensitivity_percent, point.specificity_percent) == (1.5, 100, 100)
    assert statistics.operating_point([1.0], []) is None


def test_wilcoxon_of_six_equal_signs():
    """Six differences of one sign have the exact two-sided p of 2 / 2^6; no difference at all has p = 1."""
    found = statistics.paired_difference([2, 4, 6, 8, 10, 12], [1, 2, 3, 4, 5, 6])
    assert found["wilcoxon_p"] == pytest.approx(2 / 64)
    assert (found["pairs"], found["mean_difference"], found["median_difference"]) == (6, 3.5, 3.5)
    assert statistics.paired_difference([1, 1], [1, 1])["wilcoxon_p"] == 1


def test_mcnemar_of_five_discordant_pairs():
    """Five cases that only one model calls rightly have the exact p of 2 / 2^5."""
    found = statistics.call_difference([True] * 8, [True] * 3 + [False] * 5)
    assert found == {"cases": 8, "right_only_here": 5, "right_only_there": 0, "mcnemar_p": pytest.approx(2 / 32)}


def test_mean_with_interval():
    """The interval surrounds the mean; a single value has none, and nothing has no mean."""
    found = statistics.mean_with_interval([0.7, 0.8, 0.9])
    assert found is not None
    assert found["mean"] == pytest.approx(0.8)
    assert found["mean_ci95"][0] < 0.8 < found["mean_ci95"][1]
    single = statistics.mean_with_interval([0.5])
    assert single is not None
    assert single["mean_ci95"] is None
    assert statistics.mean_with_interval([]) is None
