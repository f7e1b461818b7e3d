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
from analysis.model.weights import check_words, read_manifest
from analysis.training.curves import draw_curves, read_curve
from analysis.training.datasets import FOLD_COUNT, Cache, fold_name, load_cache, save_cache
from analysis.training.evaluation import cross_validation
from analysis.training.export import EXPORTED_KINDS, export, read_run
from analysis.training.prepare import build_cache
from analysis.training.recipes import Recipe, load_recipe
from analysis.training.starting import check_start, start_folder

__all__ = ["Plan", "Progress", "RunProgress", "TrainingFailed", "UnusableData", "Workflow"]

_POLL_S = 0.5
_STOP_S = 30.0


class TrainingFailed(AnalysisError):
    """A training run ended with an error."""


class UnusableData(AnalysisError):
    """The data cannot be trained on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be trained; ``folds`` are numbers, and None for a run on every case. Exactly one limit is given.

    ``start_from`` is the model folder that every run goes on from, or a folder with one for each fold
    (:mod:`.starting`).
    """

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
    start_from: Path | None = None

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
            UnfitStart: there is no model to go on from where one is named.
        """
        recipe = load_recipe(plan.recipe)
        if recipe.loss.perceptual and plan.vgg is None:
            raise TrainingFailed(
                f"The recipe {recipe.name} has a perceptual loss: name an npz file of VGG16's convolutions up to "
                "conv3_3 (--vgg; `lungsentry train --help` tells how to make it), or take another recipe (--recipe)."
            )
        if (out / "plan.json").exists():
            raise TrainingFailed(f"{out} holds a training already: go on with it (--resume), or take another folder.")
        if plan.start_from is not None:
            for fold in plan.folds:
                start_folder(plan.start_from, fold)
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

        Nothing is written before the data are known to be usable, and the plan before the cache: a cache without a plan
        is of other data, perhaps, and is not taken.

        Raises:
            UnusableData: no data, or no patient to train on or to measure on in a fold.
            UnreadableData: a file of the data cannot be read.
            UnfitStart: a run must not go on from the model that is named.
        """
        path, plan_path = self.out / "cache.npz", self.out / "plan.json"
        if path.exists() and plan_path.exists():
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
            if (start := self._start_of(fold)) is not None:
                check_start(read_manifest(start), fold, cache)
        self.out.mkdir(parents=True, exist_ok=True)
        _write(plan_path, _PLAN.dump_python(self.plan, mode="json"))
        save_cache(cache, path)
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
                    _stop(process)
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
        run = read_run(self._checkpoint(fold), fold_name(fold), evaluation)
        export(
            run,
            cache,
            folder,
            name=self.plan.name,
            version=version,
            evaluation=evaluation,
            interim=False,
            started_from=self._start_of(fold),
        )

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
        start = self._start_of(fold)
        begun = [] if start is None else ["--start-from", str(start)]
        return [
            *(sys.executable, "-m", "analysis.training.crossvalidate", "--worker"),
            *("--cache", str(self.out / "cache.npz"), "--out", str(self.out / "runs")),
            *("--checkpoints", str(self.out / "checkpoints"), "--recipe", plan.recipe, "--folds", fold_name(fold)),
            *("--seed", str(plan.seed), "--device", plan.device, *limit, *features, *begun),
        ]

    def _start_of(self, fold: int | None) -> Path | None:
        """The model folder that the run of a fold goes on from; None where it begins anew."""
        return None if self.plan.start_from is None else start_folder(self.plan.start_from, fold)

    def _run_name(self, fold: int | None) -> str:
        return f"{self.recipe.name}-{fold_name(fold)}"

    def _figures_path(self, fold: int | None) -> Path:
        return self.out / "runs" / f"{self._run_name(fold)}.json"

    def _checkpoint(self, fold: int | None) -> Path:
        return self.out / "checkpoints" / f"{self._run_name(fold)}.pt"


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End a run: it finishes its step and saves, which a step of a large network may draw out too long."""
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _write(path: Path, content: object) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)
