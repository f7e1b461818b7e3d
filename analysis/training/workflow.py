"""Training from data to a model folder: prepare, train and evaluate each fold, draw the curves, export.

Everything lies in one folder, so that a run that was stopped goes on from there: ``plan.json``, ``cache.npz``,
``checkpoints/``, ``runs/`` (figures and learning curve of each fold), ``curves.png``, ``evaluation.json``, ``model/``
and, after a cross-validation, ``folds/fold0`` to ``folds/fold4``. Each run is a process of
:mod:`analysis.training.crossvalidate`.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from analysis.errors import AnalysisError
from analysis.model.weights import check_words
from analysis.training.curves import draw_curves, read_curve
from analysis.training.datasets import FOLD_COUNT, Cache, load_cache, save_cache
from analysis.training.evaluation import cross_validation
from analysis.training.export import EXPORTED_KINDS, export, read_run
from analysis.training.prepare import build_cache
from analysis.training.recipes import Recipe, load_recipe

__all__ = ["Plan", "Progress", "RunProgress", "TrainingFailed", "UnusableData", "Workflow"]

_POLL_S = 0.5
_STOP_S = 30.0
_EVERYTHING = "all"


class TrainingFailed(AnalysisError):  # noqa: N818 - errors are named by what happened
    """A training run ended with an error."""


class UnusableData(AnalysisError):  # noqa: N818
    """The data cannot be trained on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be trained; ``folds`` are numbers, and None for a run on every case. Exactly one limit is given."""

    data: Path
    recipe: str
    folds: tuple[int | None, ...]
    steps: int | None
    seconds: float | None
    seed: int
    device: str
    name: str
    version: str
    vgg: Path | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.seconds is None):
            raise ValueError("a run is limited by steps or by seconds")
        if self.folds[:1] in ((), (None,)):
            raise ValueError("a run on every case has no case to be measured on: a fold is needed before it")
        check_words(self.name, self.version)


_PLAN = TypeAdapter(Plan)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProgress:
    """How far a run is: its share, 0 to 1, and what the log last said; None before the first entry."""

    fold: int | None
    share: float
    step: int | None
    loss: float | None


Progress = Callable[[RunProgress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """A plan in its folder."""

    plan: Plan
    out: Path
    recipe: Recipe

    @classmethod
    def begin(cls, plan: Plan, out: Path) -> "Workflow":
        """A new one; nothing is written yet.

        Raises:
            UnusableRecipe: there is no such recipe, or it has a key or value that cannot be.
            TrainingFailed: the folder holds a training already, or the recipe lacks a file.
        """
        recipe = load_recipe(plan.recipe)
        if recipe.loss.perceptual and plan.vgg is None:
            raise TrainingFailed(f"The recipe {recipe.name} has a perceptual loss: name the features of VGG16 (--vgg).")
        if (out / "plan.json").exists():
            raise TrainingFailed(f"{out} holds a training already: go on with it (--resume), or take another folder.")
        return cls(plan=plan, out=out, recipe=recipe)

    @classmethod
    def resume(cls, out: Path) -> "Workflow":
        """The one that the folder holds.

        Raises:
            TrainingFailed: it holds none.
        """
        try:
            plan = _PLAN.validate_json((out / "plan.json").read_bytes())
        except (OSError, ValidationError) as error:
            raise TrainingFailed(f"{out} holds no training to resume: plan.json cannot be read.") from error
        return cls(plan=plan, out=out, recipe=load_recipe(plan.recipe))

    def prepare(self, tell: Callable[[str], None]) -> Cache:
        """The cache of the data, made once; ``tell`` hears what is left out, and why.

        Raises:
            UnusableData: no data, or no patient to train on or to measure on in a fold.
        """
        path = self.out / "cache.npz"
        if path.exists():
            return load_cache(path)
        try:
            cache = build_cache(self.plan.data, tell)
        except FileNotFoundError as error:
            raise UnusableData(f"{self.plan.data}: {error}.") from error
        for fold in self.runs(cache):
            if fold is not None and not cache.held_out(fold):
                with_cases = ", ".join(str(one) for one in range(FOLD_COUNT) if cache.held_out(one))
                raise UnusableData(f"Fold {fold} has no case to be measured on; folds with cases: {with_cases}.")
            if not any(self.recipe.data.share(case.source) for case in cache.training(fold)):
                raise UnusableData(f"Fold {fold} leaves no case to train on: at least two patients are needed.")
        save_cache(cache, path)
        _write(self.out / "plan.json", _PLAN.dump_python(self.plan, mode="json"))
        return cache

    def runs(self, cache: Cache) -> tuple[int | None, ...]:
        """The folds of the plan; of a plan for all of them, those that have a patient."""
        folds = self.plan.folds
        return tuple(fold for fold in folds if fold is None or None not in folds or cache.held_out(fold))

    def train(self, fold: int | None, progress: Progress) -> None:
        """Train and evaluate one fold, from its checkpoint where there is one; nothing where it has ended already.

        Raises:
            TrainingFailed: the run ended with an error, whose last line is told.
        """
        if self._figures_path(fold).exists():
            return
        (self.out / "runs").mkdir(exist_ok=True)
        said = self.out / "runs" / f"{self._run_name(fold)}.txt"
        with said.open("ab") as stream:
            process = subprocess.Popen(self._command(fold), stdout=stream, stderr=stream, stdin=subprocess.DEVNULL)  # noqa: S603
            try:
                while process.poll() is None:
                    progress(self._progress(fold))
                    try:
                        process.wait(_POLL_S)
                    except subprocess.TimeoutExpired:
                        continue
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait(_STOP_S)
        if process.returncode or not self._figures_path(fold).exists():
            lines = said.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise TrainingFailed(f"{lines[-1] if lines else 'It said nothing'} (all of it in {said}).")

    def finish(self, cache: Cache) -> tuple[dict[str, Any], Path | None]:
        """The figures of all cases that were held out, and the folder of the model, where the network has one."""
        runs = self.runs(cache)
        draw_curves({self._run_name(fold): self.curve(fold) for fold in runs}, self.out / "curves.png")
        folds = [fold for fold in runs if fold is not None]
        evaluation = self._evaluation(runs)
        _write(self.out / "evaluation.json", evaluation)
        if self.recipe.network.kind not in EXPORTED_KINDS:
            return evaluation, None
        if len(folds) > 1:
            for fold in folds:
                folder, version = self.out / "folds" / f"fold{fold}", f"{self.plan.version}.fold{fold}"
                self._export(fold, cache, folder, version=version, measured=[fold])
        chosen = None if None in runs else folds[0]
        measured = runs if chosen is None else [chosen]
        self._export(chosen, cache, self.out / "model", version=self.plan.version, measured=measured)
        return evaluation, self.out / "model"

    def curve(self, fold: int | None) -> list[dict[str, float]]:
        """The learning curve of a run, in the order of its steps."""
        return read_curve(self.out / "runs" / f"{self._run_name(fold)}.jsonl")

    def _export(
        self, fold: int | None, cache: Cache, folder: Path, *, version: str, measured: Sequence[int | None]
    ) -> None:
        """A model folder, with the figures of the folds that were measured for it."""
        evaluation = self._evaluation(measured)
        run = read_run(self._checkpoint(fold), _fold_name(fold), evaluation)
        export(run, cache, folder, name=self.plan.name, version=version, evaluation=evaluation, interim=False)

    def _evaluation(self, folds: Sequence[int | None]) -> dict[str, Any]:
        """The figures of these folds, in the form that :mod:`.crossvalidate` writes."""
        runs = [json.loads(self._figures_path(fold).read_text(encoding="utf-8")) for fold in folds]
        return cross_validation(self.recipe.name, runs)

    def _progress(self, fold: int | None) -> RunProgress:
        curve = self.curve(fold)
        if not curve:
            return RunProgress(fold=fold, share=0.0, step=None, loss=None)
        last = curve[-1]
        return RunProgress(fold=fold, share=last["elapsed"], step=int(last["step"]), loss=last["loss"])

    def _command(self, fold: int | None) -> list[str]:
        plan = self.plan
        limit = ["--steps", str(plan.steps)] if plan.steps else ["--seconds-per-fold", str(plan.seconds)]
        features = [] if plan.vgg is None else ["--vgg", str(plan.vgg)]
        return [
            *(sys.executable, "-m", "analysis.training.crossvalidate", "--worker"),
            *("--cache", str(self.out / "cache.npz"), "--out", str(self.out / "runs")),
            *("--checkpoints", str(self.out / "checkpoints"), "--recipe", plan.recipe, "--folds", _fold_name(fold)),
            *("--seed", str(plan.seed), "--device", plan.device, *limit, *features),
        ]

    def _run_name(self, fold: int | None) -> str:
        return f"{self.recipe.name}-{_fold_name(fold)}"

    def _figures_path(self, fold: int | None) -> Path:
        return self.out / "runs" / f"{self._run_name(fold)}.json"

    def _checkpoint(self, fold: int | None) -> Path:
        return self.out / "checkpoints" / f"{self._run_name(fold)}.pt"


def _fold_name(fold: int | None) -> str:
    return _EVERYTHING if fold is None else str(fold)


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
