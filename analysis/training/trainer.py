"""Trains one network on one fold, for a time or a number of steps, whichever is given.

By steps a run is reproducible and can be resumed: a run that was stopped and resumed ends with the same weights.
By time the schedule follows the elapsed share of it, so every run comes to its proper end.
"""

import copy
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from analysis.model.compact_network import CompactNetwork
from analysis.model.network import ConvLstmNetwork, NetworkShape, SegmentationOutput
from analysis.training.augment import SliceStore, WindowSampler
from analysis.training.baselines import UNet2D
from analysis.training.datasets import Cache
from analysis.training.losses import SegmentationLoss
from analysis.training.recipes import NetworkRecipe, Recipe

_LOG_EVERY = 25
_WAIT_EVERY = 10  # steps between waits for the device: the queue must not run ahead of the clock
_SAVE_EVERY_S = 300.0  # a run that is killed loses at most this much


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimit:
    """How long a run lasts: seconds or steps, exactly one of them."""

    seconds: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        if (self.seconds is None) == (self.steps is None):
            raise ValueError("a run is limited by seconds or by steps")

    def elapsed(self, started: float, step: int) -> float:
        """The share of the run that is over, 0 to 1."""
        share = step / self.steps if self.steps else (time.monotonic() - started) / (self.seconds or 1.0)
        return min(1.0, share)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedNetwork:
    """The averaged weights of a run, ready to evaluate, and how it went."""

    network: nn.Module
    mean_hu: float
    sd_hu: float
    steps: int
    seconds: float
    final_loss: float


def build_network(recipe: NetworkRecipe) -> nn.Module:
    """The network a recipe names, freshly initialised from torch's global seed."""
    if recipe.kind == "unet2d":
        return UNet2D()
    if recipe.kind == "compact":
        return CompactNetwork(NetworkShape(design="compact", lstm_maps=recipe.lstm_maps, head_maps=recipe.head_maps))
    shape = NetworkShape(lstm_maps=recipe.lstm_maps, head_maps=recipe.head_maps)
    return ConvLstmNetwork(shape, restructured=recipe.restructured)


def learning_rate(recipe: Recipe, elapsed: float) -> float:
    """Linear warm-up, then half a cosine down to the final fraction."""
    optimiser = recipe.optimiser
    if elapsed < optimiser.warmup:
        return optimiser.learning_rate * (0.02 + 0.98 * elapsed / optimiser.warmup)
    share = (elapsed - optimiser.warmup) / (1 - optimiser.warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * share))
    return optimiser.learning_rate * (optimiser.final_fraction + (1 - optimiser.final_fraction) * cosine)


class Trainer:
    """One run: network, its running average, optimiser, sampler and their random state."""

    def __init__(
        self,
        cache: Cache,
        recipe: Recipe,
        *,
        fold: int | None,
        seed: int = 0,
        device: str = "cpu",
        vgg_weights: Path | None = None,
        log: Path | None = None,
    ) -> None:
        self.recipe = recipe
        self.device = torch.device(device)
        torch.manual_seed(seed)
        self.network = _channels_last(build_network(recipe.network).to(self.device))
        self.average = copy.deepcopy(self.network).eval().requires_grad_(requires_grad=False)
        self.loss = SegmentationLoss(recipe.loss, vgg_weights).to(self.device)
        self.generator = torch.Generator(self.device)
        self.generator.manual_seed(seed)
        cases = cache.training(fold)
        self.mean_hu, self.sd_hu = cache.lung_statistics_hu(cases)
        self.sampler = WindowSampler(
            SliceStore(cache, self.device), cases, recipe.data, recipe.augment, split_hu=recipe.loss.split_hu
        )
        self.optimiser = _optimiser(self.network, recipe, fused=self.device.type == "cuda")
        self.step = 0
        self.last_loss = math.nan
        self._log = log
        self._seconds = 0.0

    def train(
        self,
        limit: RunLimit,
        *,
        checkpoint: Path | None = None,
        stop_at: int | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> TrainedNetwork:
        """Train to the limit (or pause at step ``stop_at``), resuming from the checkpoint where there is one."""
        if checkpoint is not None and checkpoint.exists():
            self._resume(checkpoint)
        started = time.monotonic() - self._seconds
        saved = time.monotonic()
        last = limit.steps if stop_at is None else stop_at
        self.network.train()
        while (elapsed := limit.elapsed(started, self.step)) < 1 and (last is None or self.step < last):
            loss = self._one_step(elapsed)
            if self.step % _WAIT_EVERY == 0 or self.step == 1:
                self.last_loss = float(loss)
                if not math.isfinite(self.last_loss):
                    raise FloatingPointError(f"the loss is not a number at step {self.step}")
            if self.step % _LOG_EVERY == 0:
                self._record(elapsed, time.monotonic() - started, progress)
            if checkpoint is not None and time.monotonic() - saved > _SAVE_EVERY_S:
                self._seconds = time.monotonic() - started
                self._save(checkpoint)
                saved = time.monotonic()
        self._seconds = time.monotonic() - started
        if checkpoint is not None:
            self._save(checkpoint)
        return TrainedNetwork(
            network=self.average if self.recipe.optimiser.average_decay else copy.deepcopy(self.network).eval(),
            mean_hu=self.mean_hu,
            sd_hu=self.sd_hu,
            steps=self.step,
            seconds=self._seconds,
            final_loss=self.last_loss,
        )

    def _one_step(self, elapsed: float) -> Tensor:
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.recipe, elapsed)
        with torch.no_grad():
            batch = self.sampler.draw(self.generator)
            hu = ((batch.hu - self.mean_hu) / self.sd_hu).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=_has_bfloat16(self.device)):
            output: SegmentationOutput = self.network.branches(hu)  # type: ignore[operator]
        loss = self.loss(output, batch.target)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.optimiser.gradient_norm)
        self.optimiser.step()
        self.step += 1
        if self.recipe.optimiser.average_decay:
            _average(
                self.average, self.network, min(self.recipe.optimiser.average_decay, (1 + self.step) / (10 + self.step))
            )
        return loss.detach()

    def _record(self, elapsed: float, seconds: float, progress: Callable[[str], None] | None) -> None:
        if progress is not None:
            progress(f"{100 * elapsed:5.1f} %  step {self.step}  loss {self.last_loss:.4f}")
        if self._log is not None:
            entry = {
                "step": self.step,
                "seconds": round(seconds, 2),
                "elapsed": round(elapsed, 4),
                "loss": self.last_loss,
            }
            with self._log.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(entry) + "\n")

    def _save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "step": self.step,
            "seconds": self._seconds,
            "recipe": json.dumps(asdict(self.recipe)),
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def _resume(self, path: Path) -> None:
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["recipe"] != json.dumps(asdict(self.recipe)):
            raise ValueError("the checkpoint is of another recipe")
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"].cpu())
        self.step, self._seconds = int(state["step"]), float(state["seconds"])


def _has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware; emulated it is slower than float32."""
    return device.type == "cuda" or (device.type == "cpu" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))  # noqa: SLF001


def _channels_last(network: nn.Module) -> nn.Module:
    """The same network with its kernels laid out as fast convolutions want them."""
    for parameter in network.parameters():
        if parameter.ndim == 4:  # noqa: PLR2004 - a kernel
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def _optimiser(network: nn.Module, recipe: Recipe, *, fused: bool) -> torch.optim.Optimizer:
    """AdamW; normalisation and biases do not decay."""
    decaying = [p for p in network.parameters() if p.ndim > 1]
    free = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": decaying, "weight_decay": recipe.optimiser.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.optimiser.learning_rate, fused=fused or None)


@torch.no_grad()
def _average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """The average becomes decay * average + (1 - decay) * network, parameters and normalisation statistics alike."""
    pairs = [
        (a, b)
        for a, b in zip(average.state_dict().values(), network.state_dict().values(), strict=True)
        if a.is_floating_point()
    ]
    for running, current in pairs:
        running.lerp_(current, 1 - decay)


def terminal_progress(prefix: str) -> Callable[[str], None] | None:
    """A line that overwrites itself on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        return None
    return lambda text: print(f"\r{prefix}{text}", end="", file=sys.stderr, flush=True)  # noqa: T201
