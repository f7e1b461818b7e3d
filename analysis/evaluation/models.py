"""Which model judges which case: one for all, or of each fold the one that did not see the case in training."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.evaluation.cases import CaseFile, EvaluationSet
from analysis.evaluation.errors import NoFold
from analysis.evaluation.results import LesionModel
from analysis.findings import Profile
from analysis.model.weights import MANIFEST_NAME, default_directory
from analysis.training.datasets import FOLD_COUNT

_ALL = "all"

Load = Callable[[Path | None], LesionModel]
"""Loads the model of a folder; of None the one that comes with the package."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """A model folder (None: the package's own), or a folder of ``fold0`` to ``fold4`` from a cross-validation."""

    directory: Path | None = None
    cross_validated: bool = False

    def __post_init__(self) -> None:
        if not self.cross_validated:
            return
        missing = [f"fold{fold}" for fold in range(FOLD_COUNT) if not self._has(f"fold{fold}")]
        if self.directory is None or missing:
            raise NoFold(f"{self.directory} has no {', '.join(missing)} with a {MANIFEST_NAME}.")

    def directory_for(self, case: CaseFile) -> Path | None:
        """The folder of the model that judges a case."""
        if not self.cross_validated or self.directory is None:
            return self.directory
        if case.fold is None:
            raise NoFold(f"{case.name} belongs to no fold: evaluate it with one model.")
        return self.directory / f"fold{case.fold}"

    @staticmethod
    def holds_folds(directory: Path) -> bool:
        """Whether a folder is that of a cross-validation."""
        return (directory / "fold0" / MANIFEST_NAME).is_file()

    def _has(self, fold: str) -> bool:
        return self.directory is not None and (self.directory / fold / MANIFEST_NAME).is_file()


@dataclass(slots=True)
class Models:
    """Hands out the model of a case and keeps the last one, so that memory holds one model at a time."""

    source: ModelSource
    load: Load
    told: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    _directory: Path | None = None
    _model: LesionModel | None = None

    def of(self, case: CaseFile, profile: Profile = Profile.CHEST_CT) -> LesionModel:
        """The model that judges a case.

        Raises:
            UntrustedWeights: its weights are missing or not those that the manifest names.
        """
        directory = self.source.directory_for(case)
        if self._model is None or directory != self._directory:
            self._model = None  # before the next one is loaded
            self._model, self._directory = self.load(directory), directory
            told = self._model.provenance(profile)
            self.told[directory.name if directory and self.source.cross_validated else _ALL] = {
                "name": told.model_name,
                "version": told.model_version,
                "sha256": told.weights_sha256,
                "thresholds": dict(told.thresholds),
                "runtime": told.runtime,
                "device": told.device,
                "software_version": told.software_version,
            }
        return self._model

    def document(self, which: EvaluationSet) -> dict[str, Any]:
        """Which model it was, as the JSON holds it: ``model`` is its name, ``model_details`` all of it by fold."""
        if which is EvaluationSet.LOBES:
            told = {"name": "lobes", **_manifest(self.source.directory or default_directory() / "lobes")}
            return {"model": told["name"], "cross_validated": self.source.cross_validated, "model_details": told}
        details = next(iter(self.told.values())) if set(self.told) == {_ALL} else self.told
        names = dict.fromkeys(str(one["name"]) for one in self.told.values())
        return {
            "model": ", ".join(names),
            "cross_validated": self.source.cross_validated,
            "model_details": details,
        }


def _manifest(directory: Path) -> dict[str, Any]:
    """Name, version and SHA-256 that the manifest of a folder tells, as far as it can be read."""
    try:
        content = json.loads((directory / MANIFEST_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {key: content[key] for key in ("name", "version", "sha256") if key in content}
