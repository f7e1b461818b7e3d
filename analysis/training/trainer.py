"""Trains one network on one fold, for a time or a number of steps, whichever is given.

By steps a run is reproducible and can be resumed: a run that was stopped and resumed ends with the same weights.
By time the cosine schedule follows the elapsed share of it, so every run comes to its proper end. On a plateau schedule
the limit is an upper one: the run ends when the learning rate has fallen to its end.
"""

import copy
import json
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from analysis.errors import AnalysisError
from analysis.model.weights import read_weights
from analysis.training.augment import Batch, SliceStore, WindowSampler
from analysis.training.datasets import Cache, Case, fold_name
from analysis.training.losses import SegmentationLoss
from analysis.training.networks import build_network
from analysis.training.recipes import Recipe, recipe_of
from analysis.training.schedules import Plateau, cosine_rate, optimiser_of
from analysis.training.starting import UnfitStart, check_start
from analysis.training.validation import StillWindows, inner_split

if TYPE_CHECKING:
    from analysis.model.network import SegmentationOutput

_LOG_EVERY = 25
_WAIT_EVERY = 10  # steps between waits for the device: the queue must not run ahead of the clock
_SAVE_EVERY_S = 60.0  # a run that is killed loses at most this much
_HU_RANGE = (-1024.0, 600.0)  # of the segmenter's input; minmax puts it on 0 to 1


class OtherRun(AnalysisError):
    """The checkpoint is of another run: name another file, or remove it."""


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
    """The weights that a run hands out, ready to evaluate, and how it went.

    They are the running average, on a plateau schedule those of the best validation, else the last step's. The input is
    windows of ``slices`` slices, (HU - ``mean_hu``) / ``sd_hu``.
    """

    network: nn.Module
    slices: int
    mean_hu: float
    sd_hu: float
    steps: int
    seconds: float
    final_loss: float
    best_validation_loss: float | None


def normalisation_of(recipe: Recipe, cache: Cache, cases: Sequence[Case]) -> tuple[float, float]:
    """What is taken from HU, and by what the rest is divided, before the network sees it.

    For the z-score mean and deviation of the lung voxels of these cases, for minmax floor and width of the HU range.
    """
    if recipe.data.normalisation == "minmax":
        floor, ceiling = _HU_RANGE
        return floor, ceiling - floor
    return cache.lung_statistics_hu(cases)


class Trainer:
    """One run: network, the weights it will hand out, optimiser, sampler and their random state."""

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
        start_from: Path | None = None,
    ) -> None:
        self.recipe = recipe
        self.fold = fold
        self.device = torch.device(device)
        torch.manual_seed(seed)
        network = build_network(recipe.network)
        if start_from is not None:
            _begin_with(network, start_from, fold, cache)
        self.network = _channels_last(network.to(self.device))
        self._mixed = _has_bfloat16(self.device) and _trains_in_bfloat16(self.network, self.device)
        self.kept = copy.deepcopy(self.network).eval().requires_grad_(requires_grad=False)
        self.loss = SegmentationLoss(recipe.loss, vgg_weights).to(self.device)
        self.optimiser = optimiser_of(self.network, recipe, fused=self.device.type == "cuda")
        self.generator = torch.Generator(self.device)
        self.generator.manual_seed(seed)
        cases = cache.training(fold)
        self.mean_hu, self.sd_hu = normalisation_of(recipe, cache, cases)
        store = SliceStore(cache, self.device)
        slices, split_hu = recipe.network.slices, recipe.loss.split_hu
        self.plateau: Plateau | None = None
        self.validation: StillWindows | None = None
        if recipe.optimiser.schedule == "plateau":
            shown = [case for case in cases if recipe.data.share(case.source) > 0]
            cases, kept = inner_split(shown, recipe.plateau.validation_share)
            self.validation = StillWindows(store, kept, slices=slices, split_hu=split_hu, batch=recipe.data.batch)
            windows = recipe.plateau.epoch_windows or sum(case.stop - case.start for case in cases)
            epoch_steps = max(1, round(windows / recipe.data.batch))
            self.plateau = Plateau(self.optimiser, recipe.plateau, epoch_steps=epoch_steps)
        self.sampler = WindowSampler(store, cases, recipe.data, recipe.augment, slices=slices, split_hu=split_hu)
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
        """Train to the limit (or pause at step ``stop_at``), resuming from the checkpoint where there is one.

        SIGINT and SIGTERM end the run after the step that is going on, once the checkpoint is written.

        Raises:
            OtherRun: the checkpoint is of another recipe or another fold.
        """
        if checkpoint is not None and checkpoint.exists():
            self._resume(checkpoint)
        started = time.monotonic() - self._seconds
        saved = time.monotonic()
        last = limit.steps if stop_at is None else stop_at
        loss: Tensor | None = None
        recorded = self.step
        self.network.train()
        with _held_signals() as stopped:
            while (elapsed := limit.elapsed(started, self.step)) < 1 and (last is None or self.step < last):
                if stopped or (self.plateau is not None and self.plateau.ended):
                    break
                loss = self._one_step(elapsed)
                if self.step % _WAIT_EVERY == 0 or self.step == 1:
                    self._measure(loss)
                validated = self._validated()
                if validated is not None or self.step % _LOG_EVERY == 0 or self.step == 1:
                    self._record(elapsed, time.monotonic() - started, progress, validation_loss=validated)
                    recorded = self.step
                if checkpoint is not None and time.monotonic() - saved > _SAVE_EVERY_S:
                    self._seconds = time.monotonic() - started
                    self._save(checkpoint)
                    saved = time.monotonic()
            self._seconds = time.monotonic() - started
            if loss is not None and recorded != self.step:
                self._measure(loss)
                self._record(elapsed, self._seconds, progress, validation_loss=None)
            if checkpoint is not None:
                self._save(checkpoint)
        handed_out = self._handed_out()
        return TrainedNetwork(
            network=handed_out if handed_out is self.kept else copy.deepcopy(handed_out).eval(),
            slices=self.recipe.network.slices,
            mean_hu=self.mean_hu,
            sd_hu=self.sd_hu,
            steps=self.step,
            seconds=self._seconds,
            final_loss=self.last_loss,
            best_validation_loss=self.plateau.best if self.plateau is not None and self.plateau.improved else None,
        )

    def _handed_out(self) -> nn.Module:
        """The running average or the best validated weights; until there are such, and without them, the last ones."""
        kept = self.recipe.optimiser.average_decay > 0 or (self.plateau is not None and self.plateau.improved)
        return self.kept if kept else self.network

    def _one_step(self, elapsed: float) -> Tensor:
        options = self.recipe.optimiser
        if self.plateau is None:
            for group in self.optimiser.param_groups:
                group["lr"] = cosine_rate(self.recipe, elapsed)
        with torch.no_grad():
            batch = self.sampler.draw(self.generator)
        loss = self._loss_of(batch)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if options.gradient_norm:
            nn.utils.clip_grad_norm_(self.network.parameters(), options.gradient_norm)
        self.optimiser.step()
        self.step += 1
        if options.average_decay:
            _average(self.kept, self.network, min(options.average_decay, (1 + self.step) / (10 + self.step)))
        return loss.detach()

    def _loss_of(self, batch: Batch) -> Tensor:
        hu = ((batch.hu - self.mean_hu) / self.sd_hu).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._mixed):
            output: SegmentationOutput = self.network.branches(hu)  # type: ignore[operator]
        return self.loss(output, batch.target)

    def _measure(self, loss: Tensor) -> None:
        """Wait for the device and keep the loss of the step that it just made."""
        self.last_loss = float(loss)
        if not math.isfinite(self.last_loss):
            raise FloatingPointError(f"the loss is not a number at step {self.step}")

    def _validated(self) -> float | None:
        """The validation loss where an epoch has just ended; else, and without validation, None."""
        if self.plateau is None or self.validation is None or self.step % self.plateau.epoch_steps:
            return None
        return self._validate(self.plateau, self.validation)

    @torch.no_grad()
    def _validate(self, plateau: Plateau, validation: StillWindows) -> float:
        """Mean loss of the validation patients' slices; the weights are kept where it is the best so far."""
        self.network.eval()
        total = sum(float(self._loss_of(batch)) * len(batch.hu) for batch in validation)
        self.network.train()
        mean = total / validation.windows
        if not math.isfinite(mean):
            raise FloatingPointError(f"the validation loss is not a number at step {self.step}")
        if plateau.step(mean):
            self.kept.load_state_dict(self.network.state_dict())
        return mean

    def _record(
        self,
        elapsed: float,
        seconds: float,
        progress: Callable[[str], None] | None,
        *,
        validation_loss: float | None,
    ) -> None:
        if progress is not None:
            validated = "" if validation_loss is None else f"  validation {validation_loss:.4f}"
            progress(f"{100 * elapsed:5.1f} %  step {self.step}  loss {self.last_loss:.4f}{validated}")
        if self._log is not None:
            entry = {
                "step": self.step,
                "seconds": round(seconds, 2),
                "elapsed": round(elapsed, 4),
                "loss": self.last_loss,
                "learning_rate": self.optimiser.param_groups[0]["lr"],
            }
            if validation_loss is not None:
                entry["validation_loss"] = validation_loss
            with self._log.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(entry) + "\n")

    def _save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "network": self.network.state_dict(),
            "average": self._handed_out().state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "step": self.step,
            "seconds": self._seconds,
            "recipe": json.dumps(asdict(self.recipe)),
            "fold": fold_name(self.fold),
            "plateau": None if self.plateau is None else self.plateau.state_dict(),
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def _resume(self, path: Path) -> None:
        state = torch.load(path, map_location=self.device, weights_only=True)
        stored = json.loads(state["recipe"])
        # Compared as values: a checkpoint from before a key was there has that key's default.
        if recipe_of(stored.pop("name"), stored) != self.recipe:
            raise OtherRun(f"{path.name} is of another recipe.")
        fold = state.get("fold", fold_name(self.fold))  # older ones do not tell it
        if fold != fold_name(self.fold):
            raise OtherRun(f"{path.name} is of fold {fold}, the run of fold {fold_name(self.fold)}.")
        self.network.load_state_dict(state["network"])
        self.kept.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"].cpu())
        if self.plateau is not None:
            self.plateau.load_state_dict(state["plateau"])
        self.step, self._seconds = int(state["step"]), float(state["seconds"])


def _begin_with(network: nn.Module, folder: Path, fold: int | None, cache: Cache) -> None:
    """Give a network the weights of a model folder, if the fold of the cache may begin with them."""
    manifest, state = read_weights(folder)
    check_start(manifest, fold, cache)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise UnfitStart(f"{manifest.name} {manifest.version} is not the network of this recipe.") from error


@contextmanager
def _held_signals() -> Generator[list[int]]:
    """SIGINT and SIGTERM that came, which count only where this ends: in the midst of a step they would spoil it."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # no other may handle signals
        yield came
        return

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])


def _has_bfloat16(device: torch.device) -> bool:
    """Whether the device has matrix units for bfloat16.

    Without them it is slower than float32 on a CPU: 0.24 s against 0.17 s a window of the paper's network (96 pixels).
    """
    if device.type != "cpu":
        return device.type == "cuda"
    return torch.cpu._is_amx_tile_supported()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - no public name


def _trains_in_bfloat16(network: nn.Module, device: torch.device) -> bool:
    """Whether its gradients are right in bfloat16.

    On a CPU the weight gradient of a 3D convolution of small maps is not (torch 2.13 with oneDNN 3.12: it holds memory
    that was never written, and the weights become NaN).
    """
    return device.type != "cpu" or not any(isinstance(module, nn.Conv3d) for module in network.modules())


def _channels_last(network: nn.Module) -> nn.Module:
    """The same network with its kernels laid out as fast convolutions want them."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


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
