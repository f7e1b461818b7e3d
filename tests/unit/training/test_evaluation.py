"""Figures of an evaluation by hand."""

import numpy as np
import pytest
import torch

from analysis.model.network import SegmentationOutput
from analysis.training.augment import SliceStore
from analysis.training.datasets import LUNG, SIZE, Case, Source
from analysis.training.evaluation import Counts, evaluate_case, evaluate_cases, summarise


class _ByDensity(torch.nn.Module):
    """Ground glass above -600 HU, high opacity above -150, in windows z-scored with mean 0 and deviation 1."""

    def forward(self, stack):
        """Logits."""
        hu = stack[:, 1]
        high = (hu > -150) & (hu < -30)
        ggo = (hu > -600) & (hu <= -150)
        return 20.0 * torch.stack((~(ggo | high), ggo, high), dim=1).float()

    def branches(self, stack):
        """The same in the harness's form."""
        logits = self(stack)
        return SegmentationOutput(logits, logits, logits, logits[:, :1])


def _probability(labels):
    return np.eye(3, dtype=np.float32)[labels].transpose(0, 3, 1, 2)


def test_dice_by_hand():
    """2 both / (predicted + true); none where there is nothing to find and nothing found."""
    assert Counts(both=3, predicted=4, true=6).dice == pytest.approx(0.6)
    assert Counts(both=0, predicted=0, true=0).dice is None


def test_a_case_by_hand():
    """Dice and burden count lung only; what is found outside it is told apart."""
    mask = np.zeros((1, SIZE, SIZE), np.uint8)
    mask[0, :100, :100] = LUNG
    mask[0, :20, :50] |= 3
    labels = np.zeros((1, SIZE, SIZE), np.uint8)
    labels[0, :10, :50] = 1
    labels[0, 10:20, :25] = 2
    labels[0, 150:160, :10] = 1
    case = Case(name="x", source=Source.COVID20, fold=0, start=0, stop=1)
    result = evaluate_case(_probability(labels), mask, case)
    assert result["burden_percent"] == pytest.approx(7.5)
    assert result["true_burden_percent"] == pytest.approx(10.0)
    assert result["high_opacity_percent"] == pytest.approx(2.5)
    assert result["outside_lung_percent"] == pytest.approx(1.0)
    assert result["lesion_dice"] == pytest.approx(2 * 750 / 1750)
    assert result["lesion_dice_unclipped"] == pytest.approx(2 * 750 / 1850)


def test_cases_of_every_source(cache):
    """A network that knows the answer scores near 1 on volumes and pictures and finds next to nothing in controls."""
    store = SliceStore(cache, torch.device("cpu"))
    cases = evaluate_cases(_ByDensity(), cache, store, cache.held_out(0), mean_hu=0.0, sd_hu=1.0)
    assert {case["set"] for case in cases} == {"covid20", "medseg", "lctsc"}
    summary = summarise(cases)
    assert summary["covid20_lesion_dice"] > 0.95
    assert summary["covid20_lesion_dice_no_context"] > 0.95
    assert summary["medseg_ggo_dice"] > 0.95
    assert summary["medseg_high_opacity_dice_pooled"] > 0.9
    assert summary["lctsc_burden_percent_worst"] < 0.1


def test_ablations_can_be_left_out(cache):
    """Without them a case has only its own figures."""
    store = SliceStore(cache, torch.device("cpu"))
    cases = evaluate_cases(_ByDensity(), cache, store, cache.held_out(0)[:1], mean_hu=0.0, sd_hu=1.0, ablations=False)
    assert not [key for key in cases[0] if key.endswith("no_context")]
