"""Region mutual information (Zhao et al. 2019, NeurIPS): a loss on 3x3 regions of pixels in place of single pixels.

Each region is a point of nine dimensions, in the truth and in the prediction. A lower bound of the mutual information
of both is -1/2 log det of what remains of the truth's covariance once the prediction is known:
M = cov(Y, Y) - cov(Y, P) cov(P, P)^-1 cov(P, Y). The loss is 1/2 log det M, divided by nine, summed over the classes
and averaged over the windows. It falls as the prediction comes to tell the truth, far below zero.
"""

import torch
from torch import Tensor
from torch.nn import functional

_REGION = 3  # pixels a side: "R = 3" of the paper
_POOLING = 4  # the paper pools by 4, by the mean, before regions are formed
_RIDGE = 5e-4  # of the authors' code: keeps the covariances of a class that is nowhere invertible


def regional_loss(probability: Tensor, truth: Tensor) -> Tensor:
    """The loss of class probabilities against one-hot truth, both ``(window, class, row, column)``.

    Sides of at least 12 pixels. Pixels that carry no loss are zero in both.
    """
    labels, predicted = _regions(truth), _regions(probability)
    ridge = _RIDGE * torch.eye(_REGION**2, dtype=labels.dtype, device=labels.device)
    across = labels @ predicted.mT
    explained = across @ torch.linalg.solve(predicted @ predicted.mT + ridge, across.mT)
    remaining = labels @ labels.mT - explained + ridge
    factor = torch.linalg.cholesky(remaining)
    half_log_determinant = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return (half_log_determinant / _REGION**2).sum(1).mean(0).to(probability.dtype)


def _regions(maps: Tensor) -> Tensor:
    """The regions of each map less their mean, float64 ``(window, class, pixel of the region, region)``."""
    windows, classes = maps.shape[:2]
    pooled = functional.avg_pool2d(maps.double(), _POOLING)
    regions = functional.unfold(pooled.flatten(0, 1).unsqueeze(1), _REGION)
    regions = regions.view(windows, classes, _REGION**2, -1)
    return regions - regions.mean(dim=3, keepdim=True)
