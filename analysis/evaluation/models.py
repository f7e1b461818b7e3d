"""Which model judges which case: one for all, or of each fold the one that did not see the case in training."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.anatomy import LobeModel, LungModel, PlaceModel
from analysis.errors import UntrustedWeights
from analysis.evaluation.cases import CaseFile, EvaluationSet
from analysis.evaluation.errors import NoFold
from analysis.findings import Profile
from analysis.model.weights import EVALUATION_NAME, MANIFEST_NAME, default_directory, read_manifest
from analysis.models import LesionModel, ModelSet
from analysis.training.datasets import FOLD_COUNT

_ALL = "all"
_SOURCES: Mapping[EvaluationSet, tuple[str, ...]] = {
    EvaluationSet.COVID20: ("covid20", "lctsc"),
    EvaluationSet.CTAC: ("covid20", "lctsc"),
    EvaluationSet.LCTSC: ("lctsc",),
    EvaluationSet.MEDSEG: ("medseg",),
}

Load = Callable[[Path | None], LesionModel]
"""Loads the model of a folder; of None the one that comes with the package."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """One model folder (None: the package's own), or the folders ``fold0`` to ``fold4`` of a cross-validation.

    ``held_out`` names the fold that kept a case from training, as far as the folds tell it; for a case that none of
    them names its place among the cases of its folder decides, by the rule of training.
    """

    directory: Path | None = None
    cross_validated: bool = False
    held_out: Mapping[str, int] = field(default_factory=dict[str, int])

    @classmethod
    def of_folds(cls, directory: Path) -> "ModelSource":
        """The models of a cross-validation.

        Raises:
            NoFold: the model of a fold is missing.
        """
        folders = [directory / f"fold{fold}" for fold in range(FOLD_COUNT)]
        missing = [folder.name for folder in folders if not (folder / MANIFEST_NAME).is_file()]
        if missing:
            raise NoFold(f"{directory} has no {', '.join(missing)} with a {MANIFEST_NAME}.")
        held_out: dict[str, int] = {}
        for fold, folder in enumerate(folders):
            held_out |= dict.fromkeys(_held_out(folder, fold), fold)
        return cls(directory=directory, cross_validated=True, held_out=held_out)

    def directory_for(self, case: CaseFile) -> Path | None:
        """The folder of the model that judges a case."""
        if not self.cross_validated or self.directory is None:
            return self.directory
        fold = self.held_out.get(case.name, case.fold)
        if fold is None:
            raise NoFold(f"{case.name} belongs to no fold: evaluate it with one model.")
        return self.directory / f"fold{fold}"

    @staticmethod
    def holds_folds(directory: Path) -> bool:
        """Whether a folder is that of a cross-validation."""
        return (directory / "fold0" / MANIFEST_NAME).is_file()

    def cautions(self, which: EvaluationSet) -> list[str]:
        """What a reader of the figures must know: whether a model that takes part was trained on cases of this set."""
        return [*self._of_the_model(which), *self._of_the_anatomy(which)]

    def _of_the_model(self, which: EvaluationSet) -> list[str]:
        if self.cross_validated:
            told = "by the names that the folds hold" if self.held_out else "by its place among the cases of the folder"
            return [f"Each case is judged by the fold that did not see it in training, told {told}."]
        if which not in _SOURCES:
            return []
        try:
            training = read_manifest(self.directory or default_directory()).training
        except UntrustedWeights:
            return []
        seen = [source for source in _SOURCES[which] if any(text.startswith(source) for text in training.data)]
        if not seen:
            return []
        kept = "" if training.fold == _ALL else f" but those of fold {training.fold}"
        told = f"The model was trained on the cases of {' and '.join(seen)}{kept}: on these the figures flatter it"
        return [f"{told} (--cross-validated judges each case by a model that did not see it)."]

    def _of_the_anatomy(self, which: EvaluationSet) -> list[str]:
        """Lungs and lobes are told by networks of the package, which have their own training and no folds here."""
        if which is EvaluationSet.LOBES:
            if self.directory is not None:
                return []
            network, measured = "lobes", "the figures"
        elif which in {EvaluationSet.COVID20, EvaluationSet.CTAC, EvaluationSet.LCTSC}:
            network, measured = "lungs", "lung_dice and lesion_in_lung_share"
        else:
            return []
        if not (default_directory() / network / MANIFEST_NAME).is_file():
            return []
        told = f"The network of the {network} was trained on cases of this kind: where these are among them, {measured}"
        return [f"{told} flatter it (analysis/weights/{network}/{EVALUATION_NAME} has those of cases it did not see)."]


@dataclass(slots=True)
class Models:
    """Hands out the models of a case and keeps the last lesion model, so that memory holds one at a time."""

    source: ModelSource
    load: Load
    told: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    _directory: Path | None = None
    _models: ModelSet | None = None

    def of(self, case: CaseFile, profile: Profile = Profile.CHEST_CT) -> ModelSet:
        """The models that judge a case; lungs and lobes are told by those of the package.

        Raises:
            UntrustedWeights: its weights are missing or not those that the manifest names.
        """
        directory = self.source.directory_for(case)
        if self._models is None or directory != self._directory:
            self._models = None  # before the next one is loaded
            self._models = ModelSet(
                lesions=self.load(directory),
                lungs=LungModel.load(),
                lobes=LobeModel.load(),
                places=PlaceModel.load(),
            )
            self._directory = directory
            told = self._models.provenance(profile)
            self.told[directory.name if directory and self.source.cross_validated else _ALL] = {
                "name": told.model_name,
                "version": told.model_version,
                "sha256": told.weights_sha256,
                "thresholds": dict(told.thresholds),
                "runtime": told.runtime,
                "device": told.device,
                "software_version": told.software_version,
            }
        return self._models

    def document(self, which: EvaluationSet) -> dict[str, Any]:
        """Which model it was, as the JSON holds it: ``model`` is its name, ``model_details`` all of it by fold."""
        if which is EvaluationSet.LOBES:
            told = {"name": "lobes", **_named(self.source.directory or default_directory() / "lobes")}
            name, details = told["name"], told
        else:
            name = ", ".join(dict.fromkeys(str(one["name"]) for one in self.told.values()))
            details = next(iter(self.told.values())) if set(self.told) == {_ALL} else self.told
        return {
            "model": name,
            "cross_validated": self.source.cross_validated,
            "model_details": details,
            "cautions": self.source.cautions(which),
        }


def _named(directory: Path) -> dict[str, Any]:
    """Name, version and SHA-256 that the manifest of the lobes tells, as far as it can be read."""
    content = _read(directory / MANIFEST_NAME)
    return {key: content[key] for key in ("name", "version", "sha256") if key in content}


def _held_out(folder: Path, fold: int) -> list[str]:
    """The cases that the model of a fold was evaluated on and that carry its number."""
    cases = _read(folder / EVALUATION_NAME).get("cases", [])
    return [str(case["case"]) for case in cases if str(case.get("fold")) == str(fold)]


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
