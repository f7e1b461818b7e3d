"""Losses by hand, with labels that are only partly known."""

import math
from dataclasses import replace

import pytest
import torch

from analysis.model.network import SegmentationOutput
from analysis.training.losses import SegmentationLoss, Target, focal_loss, log_likelihood, soft_dice_loss
from analysis.training.recipes import LossRecipe
from analysis.training.regional import regional_loss


def _target(classes, weak=None, known=None):
    """One row of pixels."""
    classes = torch.tensor([[classes]], dtype=torch.uint8)
    weak = torch.ones_like(classes) if weak is None else torch.tensor([[weak]], dtype=torch.uint8)
    known = torch.ones_like(classes, dtype=torch.bool) if known is None else torch.tensor([[known]])
    return Target(classes=classes, weak=weak, known=known)


def _log(*pixels: tuple[float, float, float]):
    """Log-probabilities (1, 3, 1, pixel) of pixels given as (background, GGO, high opacity)."""
    return torch.tensor(pixels).T.reshape(1, 3, 1, -1).log()


def test_an_open_class_counts_as_either():
    """Of a lesion of open class only the sum of both opacities is asked for."""
    log_p = _log((0.2, 0.5, 0.3), (0.2, 0.3, 0.5))
    found = log_likelihood(log_p, _target([3, 3]), split_weight=0.0)
    assert found.flatten().tolist() == pytest.approx([math.log(0.8)] * 2)


def test_density_decides_by_its_weight():
    """The split's weight mixes in the class that density suggests."""
    log_p = _log((0.2, 0.5, 0.3))
    found = log_likelihood(log_p, _target([3], weak=[2]), split_weight=0.25)
    assert found.item() == pytest.approx(0.75 * math.log(0.8) + 0.25 * math.log(0.3))


def test_cross_entropy_is_the_focal_loss_without_focus():
    """Gamma 0 and equal weights: the mean of -log p."""
    found = focal_loss(
        _log((0.7, 0.2, 0.1), (0.1, 0.6, 0.3)), _target([0, 1]), class_weights=(1, 1, 1), gamma=0, split_weight=0
    )
    assert found.item() == pytest.approx(-(math.log(0.7) + math.log(0.6)) / 2)


def test_the_papers_focal_loss():
    """Weights 0.1, 1, 1 and gamma 3: each pixel times weight and (1 - p) cubed."""
    found = focal_loss(
        _log((0.7, 0.2, 0.1), (0.1, 0.6, 0.3)), _target([0, 1]), class_weights=(0.1, 1, 1), gamma=3, split_weight=0
    )
    wanted = (-0.1 * 0.3**3 * math.log(0.7) - 0.4**3 * math.log(0.6)) / 2
    assert found.item() == pytest.approx(wanted, rel=1e-5)


def test_unknown_pixels_carry_no_loss():
    """A pixel whose label is not known changes neither the loss nor its mean."""
    kwargs = {"class_weights": (1.0, 1.0, 1.0), "gamma": 0.0, "split_weight": 0.0}
    alone = focal_loss(_log((0.7, 0.2, 0.1)), _target([0]), **kwargs)
    beside = focal_loss(_log((0.7, 0.2, 0.1), (0.01, 0.98, 0.01)), _target([0, 0], known=[True, False]), **kwargs)
    assert alone.item() == pytest.approx(beside.item())


def test_soft_dice_by_hand():
    """(2 overlap + 16) / (sum + 16), over the pixels that count."""
    probability, truth = torch.full((1, 4, 4), 0.5), torch.ones(1, 4, 4)
    weight = torch.ones(1, 4, 4)
    weight[0, 0] = 0
    assert soft_dice_loss(probability, truth, weight).item() == pytest.approx(1 - (2 * 6 + 16) / (18 + 16))
    assert soft_dice_loss(0 * truth, 0 * truth, weight).item() == 0


def test_a_good_answer_costs_less():
    """The whole loss of a right answer is near nothing, and below that of a wrong one."""
    loss = SegmentationLoss(LossRecipe())
    target = _target([0, 1, 2, 3] * 64, weak=[1] * 256)
    truth = torch.nn.functional.one_hot(torch.tensor([0, 1, 2, 1] * 64), 3).T.reshape(1, 3, 1, 256).float()
    good, bad = 20 * truth, 20 * truth.flip(1)
    gate = torch.zeros(1, 1, 1, 256)
    right = loss(SegmentationOutput(good, good.clone(), good.clone(), gate), target)
    wrong = loss(SegmentationOutput(bad, bad.clone(), bad.clone(), gate), target)
    assert right.item() < 0.05
    assert wrong.item() > 1


def test_each_branch_is_supervised():
    """A branch that is wrong costs something though the joined logits are right."""
    loss = SegmentationLoss(LossRecipe(branches=0.4))
    target = _target([0, 1] * 8)
    good = 20 * torch.nn.functional.one_hot(torch.tensor([0, 1] * 8), 3).T.reshape(1, 3, 1, 16).float()
    gate = torch.zeros(1, 1, 1, 16)
    right = loss(SegmentationOutput(good, good.clone(), good.clone(), gate), target)
    lazy = loss(SegmentationOutput(good, good.clone(), 0 * good, gate), target)
    assert lazy - right > 0.4


def test_a_perceptual_loss_needs_its_features():
    """The paper's recipe cannot silently run without VGG."""
    with pytest.raises(ValueError, match="VGG"):
        SegmentationLoss(LossRecipe(perceptual=1.0))


def test_the_regional_loss_has_its_weight():
    """Half of it is half of the region mutual information beside the loss by pixel; unknown pixels are out of it."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((1, 3, 16, 16), generator=generator)
    classes = torch.randint(0, 3, (1, 16, 16), generator=generator).to(torch.uint8)
    known = torch.ones(1, 16, 16, dtype=torch.bool)
    known[:, :4] = False
    target = Target(classes=classes, weak=torch.ones_like(classes), known=known)
    plain = LossRecipe(dice=0.0, branches=0.0)
    with_regions = SegmentationLoss(replace(plain, regional=0.5)).of_logits(logits, target)
    truth = torch.nn.functional.one_hot(classes.long(), 3).movedim(-1, 1).float() * known
    wanted = SegmentationLoss(plain).of_logits(logits, target) + 0.5 * regional_loss(logits.softmax(1) * known, truth)
    assert with_regions.item() == pytest.approx(wanted.item(), rel=1e-5)
