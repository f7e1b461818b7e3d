"""Which model a run may go on from: one that has not seen the cases by which the run is judged.

A model tells in its manifest what it was trained on and which fold it left out. A run on every case is judged by none,
so it may begin with any model. A run on a fold may begin

- with a model of other data: none of the model's sources is in the cache of the run (a hospital's own scans, and a
  model of the public sets); or
- with the model of the same fold, if of each source that both have it saw as many slices as the run trains on. Another
  number means that the folds were dealt anew, as they are when patients are added.
"""

from pathlib import Path

from analysis.errors import AnalysisError
from analysis.model.weights import MANIFEST_NAME, Manifest
from analysis.training.datasets import EVERYTHING, Cache, fold_name, source_told

__all__ = ["UnfitStart", "check_start", "start_folder"]


class UnfitStart(AnalysisError):
    """The run cannot go on from this model."""


def start_folder(given: Path, fold: int | None) -> Path:
    """The model folder that a run begins with: the one that was given, or that of its fold in it.

    Raises:
        UnfitStart: it is neither a model folder, nor holds one for the fold.
    """
    below = given / f"fold{fold_name(fold)}"
    for folder in (given, below):
        if (folder / MANIFEST_NAME).is_file():
            return folder
    raise UnfitStart(f"{given} is no model folder, and holds none called {below.name}.")


def check_start(manifest: Manifest, fold: int | None, cache: Cache) -> None:
    """Let a run on this fold of the cache begin with the model, or say why it must not.

    Raises:
        UnfitStart: the model has seen cases that the run holds out, or may have.
    """
    if fold is None:
        return
    model, training = f"{manifest.name} {manifest.version}", manifest.training
    sources = {case.source.value for case in cache.cases}
    shared = {told for told in training.data if source_told(told) in sources}
    if training.data and not shared:
        return
    of = f"on {', '.join(training.data) or 'data that it does not name'}"
    if training.fold != fold_name(fold):
        without = "" if training.fold == EVERYTHING else f", without fold {training.fold}"
        raise UnfitStart(
            f"{model} was trained {of}{without}: it has seen cases that fold {fold} is measured on. Take the model of "
            f"fold {fold}, a folder with fold0 to fold4, or a model of other data; a run on every case may take any."
        )
    if not shared <= set(cache.trained_on(fold)):
        raise UnfitStart(
            f"{model} was trained {of}, and fold {fold} trains on {', '.join(cache.trained_on(fold))}: its folds are "
            "other ones, so it may have seen cases that are measured. Take a model of these folds, or of other data."
        )
