"""Optimisers and what becomes of their learning rate while a run lasts."""

import math

import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from analysis.training.recipes import PlateauRecipe, Recipe


def optimiser_of(network: nn.Module, recipe: Recipe, *, fused: bool) -> torch.optim.Optimizer:
    """The recipe's optimiser of a network.

    With AdamW normalisation and biases do not decay; with the papers' Adam and SGD every parameter does.
    """
    options = recipe.optimiser
    if options.kind == "sgd":
        return torch.optim.SGD(
            network.parameters(),
            lr=options.learning_rate,
            momentum=options.momentum,
            weight_decay=options.weight_decay,
        )
    if options.kind == "adam":
        return torch.optim.Adam(
            network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay, fused=fused or None
        )
    groups = [
        {"params": [p for p in network.parameters() if p.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in network.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=options.learning_rate, fused=fused or None)


def cosine_rate(recipe: Recipe, elapsed: float) -> float:
    """Linear warm-up, then half a cosine down to the final fraction; ``elapsed`` 0 to 1 is the share that is over."""
    optimiser = recipe.optimiser
    if elapsed < optimiser.warmup:
        return optimiser.learning_rate * (0.02 + 0.98 * elapsed / optimiser.warmup)
    share = (elapsed - optimiser.warmup) / (1 - optimiser.warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * share))
    return optimiser.learning_rate * (optimiser.final_fraction + (1 - optimiser.final_fraction) * cosine)


class Plateau:
    """Reduces the learning rate where the validation loss no longer falls, and says when the run is over.

    Any fall counts, since a loss may be negative and has no scale of its own.
    """

    def __init__(self, optimiser: torch.optim.Optimizer, recipe: PlateauRecipe, *, epoch_steps: int) -> None:
        self.epoch_steps = epoch_steps
        self.best = math.inf
        self.ended = False
        self._optimiser = optimiser
        self._stop_at = recipe.stop_at
        self._reducer = ReduceLROnPlateau(
            optimiser, factor=recipe.factor, patience=recipe.patience, threshold=0.0, threshold_mode="abs", eps=0.0
        )

    @property
    def improved(self) -> bool:
        """Whether there has been a validation, and so a best one."""
        return self.best < math.inf

    def step(self, validation_loss: float) -> bool:
        """Take note of an epoch's validation loss; true where it is the best so far."""
        improved = validation_loss < self.best
        self.best = min(self.best, validation_loss)
        self._reducer.step(validation_loss)
        # 1e-3 reduced four times is 1e-7 but for rounding
        self.ended = max(group["lr"] for group in self._optimiser.param_groups) <= self._stop_at * (1 + 1e-6)
        return improved

    def state_dict(self) -> dict[str, object]:
        """What a checkpoint keeps."""
        return {"best": self.best, "ended": self.ended, "reducer": self._reducer.state_dict()}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Continue where a checkpoint left off."""
        self.best, self.ended = float(str(state["best"])), bool(state["ended"])
        self._reducer.load_state_dict(state["reducer"])  # type: ignore[arg-type]
