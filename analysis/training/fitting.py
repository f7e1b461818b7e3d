"""The loop that trains the anatomy networks: one example a step, repeatable, and resumed where it was broken off."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_LOG = logging.getLogger(__name__)
_SAID_EVERY = 50
_KEPT_EVERY = 100
_MEAN_DECAY = 0.985
_CLIP = 1.0

Draw = Callable[[int, np.random.Generator], tuple[Tensor, Tensor]]
"""Inputs and targets, each with a batch of one, of the case with this index, augmented by these random numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitting:
    """How a network is trained: AdamW, a warm-up and a cosine to nothing, and a running mean of the weights."""

    steps: int
    seed: int = 0
    rate: float = 4e-3
    decay: float = 1e-3


def fit(
    network: nn.Module,
    draw: Draw,
    loss: Callable[[Tensor, Tensor, Tensor], Tensor],
    *,
    cases: int,
    fitting: Fitting,
    checkpoint: Path | None = None,
) -> nn.Module:
    """Train in place and return the network with the running mean of its weights.

    ``loss`` takes logits, inputs and targets. What a step draws depends on its number and the seed alone, so that a
    training resumed from ``checkpoint`` goes on as if it had not stopped; the file is removed at the end.
    """
    mean = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(_MEAN_DECAY)
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=fitting.rate, weight_decay=fitting.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, fitting.rate, total_steps=fitting.steps, pct_start=0.1)
    parts: dict[str, Any] = {"network": network, "mean": mean, "optimizer": optimizer, "schedule": schedule}
    first = _resumed(parts, checkpoint)
    started, total = time.perf_counter(), 0.0
    network.train()
    for step in range(first, fitting.steps):
        order = np.random.default_rng((fitting.seed, step // cases)).permutation(cases)
        inputs, targets = draw(int(order[step % cases]), np.random.default_rng((fitting.seed, step, 1)))
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(inputs)
        value = loss(logits.float(), inputs, targets)
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
        optimizer.step()
        schedule.step()
        mean.update_parameters(network)
        total += float(value.detach())
        if (step + 1) % _SAID_EVERY == 0:
            spent = time.perf_counter() - started
            _LOG.info("step %d of %d, loss %.4f, %.0f s", step + 1, fitting.steps, total / _SAID_EVERY, spent)
            total = 0.0
        if checkpoint is not None and (step + 1) % _KEPT_EVERY == 0:
            _keep(parts, step + 1, checkpoint)
    network.load_state_dict(mean.module.state_dict())
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return network.eval()


def _keep(parts: dict[str, Any], step: int, checkpoint: Path) -> None:
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    partial = checkpoint.with_suffix(".partial")
    torch.save({"step": step, **{name: part.state_dict() for name, part in parts.items()}}, partial)
    partial.replace(checkpoint)


def _resumed(parts: dict[str, Any], checkpoint: Path | None) -> int:
    """The step to go on with, with every part as it was then; 0 where there is nothing to resume."""
    if checkpoint is None or not checkpoint.exists():
        return 0
    kept = torch.load(checkpoint, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(kept[name])
    _LOG.info("resumed after step %d", kept["step"])
    return int(kept["step"])
