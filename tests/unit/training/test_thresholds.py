"""The lesion threshold is the one with the best Dice that leaves controls alone, and is told with an honest Dice."""

from typing import Any

import numpy as np
import pytest

from analysis.training.datasets import KNOWN, LESION_OF_OPEN_CLASS, LUNG
from analysis.training.thresholds import CONTROL_LIMIT_PERCENT, GRID, choose, judge, judge_run, summary


def _case(fold: int, dice: list[float] | None, burden: float) -> dict[str, Any]:
    return {
        "fold": fold,
        "lesion_dice": dice,
        "burden_percent": [burden * (1 - threshold) for threshold in GRID],
        "true_burden_percent": burden,
    }


def _peak(at: float) -> list[float]:
    return [1 - abs(threshold - at) for threshold in GRID]


def test_dice_and_burden_of_a_threshold_are_counted_inside_the_lung():
    """A case with a lesion of 4 of 16 lung pixels, and one false pixel of 0.5, outside the lung none."""
    mask = np.full((1, 6, 6), KNOWN, np.uint8)
    mask[0, 1:5, 1:5] |= LUNG
    mask[0, 1:3, 1:3] |= LESION_OF_OPEN_CLASS
    probability = np.zeros((1, 6, 6), np.float32)
    probability[0, 1:3, 1:3] = 0.9
    probability[0, 4, 4] = 0.5
    probability[0, 0, 0] = 1.0
    found = judge(probability, mask)
    low, high = GRID.index(0.5), GRID.index(0.55)
    assert found["true_burden_percent"] == pytest.approx(25.0)
    assert found["burden_percent"][low] == pytest.approx(100 * 5 / 16)
    assert found["lesion_dice"][low] == pytest.approx(8 / 9)
    assert found["lesion_dice"][high] == 1.0


def test_the_best_dice_is_chosen_where_controls_allow_it():
    """Without false positives the peak of the mean Dice wins; a control that lights up moves the choice up."""
    patients = [_case(0, _peak(0.2), 10.0), _case(1, _peak(0.2), 5.0)]
    assert GRID[choose([*patients, _case(0, None, 0.0)])] == 0.2
    loud = _case(0, None, 2 * CONTROL_LIMIT_PERCENT)
    assert GRID[choose([*patients, loud])] == 0.5


def test_of_dices_that_are_hardly_less_the_lowest_threshold_is_chosen():
    """A Dice that is flat from 0.3 to 0.6, with its best at 0.5 by a hair: the one that misses least is taken."""
    flat = [0.8 + (0.0004 if threshold == 0.5 else 0.0) if 0.3 <= threshold <= 0.6 else 0.7 for threshold in GRID]
    assert GRID[choose([_case(0, flat, 10.0), _case(1, flat, 5.0)])] == 0.3


def test_where_no_threshold_spares_the_controls_the_highest_is_taken():
    """With controls that are alight at every threshold, the one with the fewest false positives is chosen."""
    cases = [_case(0, _peak(0.2), 10.0), _case(0, None, 90.0)]
    assert GRID[choose(cases)] == GRID[-1]


def test_the_nested_dice_is_at_the_threshold_of_the_other_folds():
    """Two folds that prefer 0.2 and 0.4 are each judged at the other's choice."""
    told = summary([_case(0, _peak(0.2), 10.0), _case(1, _peak(0.4), 5.0), _case(1, None, 0.0)])
    assert told["nested_lesion_dice"] == pytest.approx(0.8)
    assert max(row["lesion_dice"] for row in told["grid"]) == pytest.approx(0.9)


def test_a_hospitals_own_cases_are_judged(hospital_run):
    """Its held-out patients and controls count as those of the public sets; single pictures do not."""
    cases = judge_run(hospital_run)
    assert [case["set"] for case in cases] == ["hospital", "hospital_control"]
    assert [case["lesion_dice"] is None for case in cases] == [False, True]
