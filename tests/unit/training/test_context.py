"""False burden of the basal third is told apart from that of the whole lung, for controls of every source."""

import numpy as np
import pytest

from analysis.training.context import _compare, false_burdens_percent


def test_the_basal_third_is_the_first_of_the_slices_with_lung():
    """Six slices of lung, from feet to head: what is found in the lowest two is basal."""
    lung = np.zeros((8, 2, 2), bool)
    lung[1:7] = True
    found = np.zeros_like(lung)
    found[0] = True  # no lung there
    found[1, 0, 0] = found[6] = True
    told = false_burdens_percent(found, lung)
    assert told["burden_percent"] == pytest.approx(100 * 5 / 24)
    assert told["basal_burden_percent"] == pytest.approx(100 * 1 / 8)


def test_the_controls_of_a_hospital_are_compared(hospital_run, tmp_path):
    """The held-out control of a hospital is labelled with neighbours and without."""
    (compared,) = _compare(hospital_run, threshold=0.5, pictures=tmp_path)
    assert compared["case"] == "lctsc_3"
