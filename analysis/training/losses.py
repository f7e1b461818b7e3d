"""Losses of the segmentation network: the paper's and ours, both with partly known labels.

Targets: ``classes`` uint8 ``(window, row, column)`` 0 background, 1 ground glass, 2 high opacity, 3 lesion of open
class; ``weak`` uint8 the class that density suggests where the class is open; ``known`` bool: pixels elsewhere carry
no loss. Logits: ``(window, class, row, column)``.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from analysis.model.network import CLASS_COUNT, GROUND_GLASS, HIGH_OPACITY, SegmentationOutput
from analysis.training.datasets import LESION_OF_OPEN_CLASS
from analysis.training.recipes import LossRecipe
from analysis.training.regional import regional_loss

_DICE_SMOOTHING = 16.0  # pixels; keeps the Dice of an empty class defined
_VGG_POOL_AFTER = ("conv1_2", "conv2_2")
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_SD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a batch should come out as; see the module."""

    classes: Tensor
    weak: Tensor
    known: Tensor


def log_likelihood(log_probability: Tensor, target: Target, *, split_weight: float) -> Tensor:
    """Log-likelihood of each pixel's label ``(window, row, column)``.

    For a lesion of open class: log(p(GGO) + p(high opacity)), plus ``split_weight`` times the log-probability of the
    class that density suggests, given that it is lesion. At ``split_weight`` 1 it is that of the suggested class.
    """
    open_class = target.classes == LESION_OF_OPEN_CLASS
    closed = torch.where(open_class, target.weak, target.classes).long()
    of_class = log_probability.gather(1, closed.unsqueeze(1)).squeeze(1)
    lesion = torch.logsumexp(log_probability[:, GROUND_GLASS:], dim=1)
    return torch.where(open_class, (1 - split_weight) * lesion + split_weight * of_class, of_class)


def focal_loss(
    log_probability: Tensor, target: Target, *, class_weights: tuple[float, ...], gamma: float, split_weight: float
) -> Tensor:
    """Mean over known pixels of weight * (1 - p)^gamma * -log p (Lin et al. 2017); gamma 0 is cross-entropy."""
    log_p = log_likelihood(log_probability, target, split_weight=split_weight)
    suggested = torch.where(target.classes == LESION_OF_OPEN_CLASS, target.weak, target.classes).long()
    weight = log_p.new_tensor(class_weights)[suggested] * target.known
    loss = -log_p
    if gamma:
        loss = loss * (1 - log_p.clamp(max=0).exp()) ** gamma
    return (loss * weight).sum() / target.known.sum().clamp(min=1)


def soft_dice_loss(probability: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """1 - Dice over the whole batch; ``weight`` says which pixels count. All ``(window, row, column)``."""
    overlap = (probability * truth * weight).sum()
    total = ((probability + truth) * weight).sum()
    return 1 - (2 * overlap + _DICE_SMOOTHING) / (total + _DICE_SMOOTHING)


class VggPerceptualLoss(nn.Module):
    """Mean absolute difference of ImageNet VGG16 features, at each stage up to conv3_3, of two three-class maps.

    The classes are the three colour channels (Killekar et al. 2022, section 4.3: low-level features carry the edges).
    """

    def __init__(self, weights: Path) -> None:
        super().__init__()
        with np.load(weights) as stored:
            self._names = sorted(key.removesuffix(".weight") for key in stored if key.endswith(".weight"))
            for name in self._names:
                self.register_buffer(f"{name}_kernel", torch.from_numpy(stored[f"{name}.weight"]), persistent=False)
                self.register_buffer(f"{name}_bias", torch.from_numpy(stored[f"{name}.bias"]), persistent=False)
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("sd", torch.tensor(_IMAGENET_SD).view(1, 3, 1, 1), persistent=False)

    def _features(self, x: Tensor) -> list[Tensor]:
        x = (x - self.get_buffer("mean")) / self.get_buffer("sd")
        stages: list[Tensor] = []
        for name in self._names:
            x = functional.relu(
                functional.conv2d(x, self.get_buffer(f"{name}_kernel"), self.get_buffer(f"{name}_bias"), padding=1)
            )
            if name in (*_VGG_POOL_AFTER, self._names[-1]):
                stages.append(x)
                x = functional.max_pool2d(x, 2)
        return stages

    def forward(self, probability: Tensor, truth: Tensor) -> Tensor:
        """The loss of class probabilities against one-hot truth, both ``(window, class, row, column)``."""
        with torch.no_grad():
            wanted = self._features(truth)
        return sum(
            (functional.l1_loss(a, b) for a, b in zip(self._features(probability), wanted, strict=True)),
            probability.new_zeros(()),
        )


class SegmentationLoss(nn.Module):
    """The loss of a recipe, on the joined logits and on each branch.

    Focal or cross-entropy, soft Dice, perceptual, region mutual information, each by its weight.
    """

    def __init__(self, recipe: LossRecipe, vgg_weights: Path | None = None) -> None:
        super().__init__()
        self.recipe = recipe
        if recipe.perceptual and vgg_weights is None:
            raise ValueError("the recipe's perceptual loss needs the VGG weights; loss.perceptual 0 does without")
        self.perceptual = VggPerceptualLoss(vgg_weights) if recipe.perceptual and vgg_weights else None

    def of_logits(self, logits: Tensor, target: Target) -> Tensor:
        """The loss of one set of logits."""
        recipe = self.recipe
        log_probability = functional.log_softmax(logits, dim=1)
        total = focal_loss(
            log_probability,
            target,
            class_weights=recipe.class_weights,
            gamma=recipe.gamma,
            split_weight=recipe.split_weight,
        )
        if recipe.dice:
            total = total + recipe.dice * self._dice(log_probability.exp(), target)
        if self.perceptual is not None or recipe.regional:
            suggested = torch.where(target.classes == LESION_OF_OPEN_CLASS, target.weak, target.classes).long()
            known = target.known.unsqueeze(1)
            truth = functional.one_hot(suggested, CLASS_COUNT).movedim(-1, 1).to(logits.dtype) * known
            probability = log_probability.exp() * known
            if self.perceptual is not None:
                total = total + recipe.perceptual * self.perceptual(probability, truth)
            if recipe.regional:
                total = total + recipe.regional * regional_loss(probability, truth)
        return total

    def forward(self, output: SegmentationOutput, target: Target) -> Tensor:
        """The loss of the joined logits plus, by the recipe's weight, that of each branch."""
        total = self.of_logits(output.logits, target)
        if self.recipe.branches and output.main is not output.logits:
            total = total + self.recipe.branches * (
                self.of_logits(output.main, target) + self.of_logits(output.attended, target)
            )
        return total

    def _dice(self, probability: Tensor, target: Target) -> Tensor:
        """Dice of the lesion, and of each class over the windows whose lesions all have one; mean of the two kinds."""
        known = target.known.float()
        lesion = (target.classes > 0).float()
        binary = soft_dice_loss(probability[:, GROUND_GLASS:].sum(1), lesion, known)
        closed = known * (target.classes != LESION_OF_OPEN_CLASS).flatten(1).all(1).view(-1, 1, 1)
        classes = [
            soft_dice_loss(probability[:, kind], (target.classes == kind).float(), closed)
            for kind in (GROUND_GLASS, HIGH_OPACITY)
        ]
        return binary + self.recipe.class_dice * (classes[0] + classes[1]) / 2
