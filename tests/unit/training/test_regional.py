"""Region mutual information against its formula, region by region."""

import numpy as np
import pytest
import torch

from analysis.training.regional import regional_loss

SIDE = 20  # pooled by four: five, so nine regions of 3x3


def _one_hot(generator):
    labels = torch.randint(0, 3, (2, SIDE // 4, SIDE // 4), generator=generator)
    labels = labels.repeat_interleave(4, 1).repeat_interleave(4, 2)
    return torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float()


def _direct(probability, truth):
    """The loss of one map: every region a row of nine, covariances by numpy, log det by its eigenvalues."""
    pooled = [m.reshape(SIDE // 4, 4, SIDE // 4, 4).mean(axis=(1, 3)) for m in (truth, probability)]
    reach = range(SIDE // 4 - 2)
    y, p = (np.array([m[r : r + 3, c : c + 3].ravel() for r in reach for c in reach], np.float64) for m in pooled)
    joint = np.cov(np.hstack((y, p)), rowvar=False) * (len(y) - 1)  # sums, not means, as the authors have it
    yy, yp, pp = joint[:9, :9], joint[:9, 9:], joint[9:, 9:]
    remaining = yy - yp @ np.linalg.inv(pp + 5e-4 * np.eye(9)) @ yp.T + 5e-4 * np.eye(9)
    return 0.5 * np.log(np.linalg.eigvalsh(remaining)).sum() / 9


def test_the_loss_is_its_formula():
    """Half the log-determinant of the covariance that is left, over nine; classes added, windows averaged."""
    generator = torch.Generator().manual_seed(0)
    truth = _one_hot(generator)
    probability = torch.rand((2, 3, SIDE, SIDE), generator=generator).softmax(1)
    wanted = np.mean(
        [
            sum(_direct(p, t) for p, t in zip(*w, strict=True))
            for w in zip(probability.numpy(), truth.numpy(), strict=True)
        ]
    )
    assert regional_loss(probability, truth).item() == pytest.approx(wanted, rel=1e-5)


def test_a_prediction_that_tells_the_truth_costs_least():
    """Truth itself below truth with a little noise, below noise; a loss far below zero is possible."""
    generator = torch.Generator().manual_seed(1)
    truth = _one_hot(generator)
    noise = torch.rand(truth.shape, generator=generator)
    right, near, wrong = (regional_loss(p, truth).item() for p in (truth, 0.8 * truth + 0.2 * noise, noise))
    assert right < near < wrong
    assert right < -5


def test_a_class_that_is_nowhere_has_a_gradient():
    """Windows without a lesion, predicted as such or not, give finite gradients."""
    truth = torch.zeros(2, 3, SIDE, SIDE)
    truth[:, 0] = 1
    logits = torch.zeros(2, 3, SIDE, SIDE, requires_grad=True)
    regional_loss(logits.softmax(1), truth).backward()
    assert torch.isfinite(logits.grad).all()
