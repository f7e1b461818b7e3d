"""The models of the node: those in use are loaded once, and taken anew when the database names others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from analysis.errors import AnalysisError, UntrustedWeights
from analysis.findings import Profile
from analysis.model.registry import SHIPPED, Registry
from analysis.models import ModelSet
from db import ModelRole
from dicom_node.logs import cause_of

if TYPE_CHECKING:
    from pathlib import Path

    from db import ModelAssignment, Store
    from dicom_node.settings import Worker

__all__ = ["ModelBench"]

_LOG = structlog.stdlib.get_logger()
_Key = tuple[str, str]  # reference and SHA-256


class ModelBench:
    """Loaded models by profile and role.

    A model that was assigned and cannot be loaded is an error, never a silent return to another one.
    """

    def __init__(self, settings: Worker, models_dir: Path, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._registry = Registry(directory=models_dir)
        self._loaded: dict[_Key, ModelSet] = {}

    def preload(self) -> None:
        """Load what is active, so that the first job need not. Where one profile's model cannot be, its jobs will fail.

        Raises:
            AnalysisError: none can be loaded; jobs had better wait than fail one by one.
        """
        usable = False
        refused: AnalysisError | None = None
        for profile in Profile:
            try:
                self.active(profile)
                usable = True
            except AnalysisError as error:
                refused = error
                _LOG.error("model.refused", profile=profile.value, cause=cause_of(error))
        if refused is not None and not usable:
            raise refused

    def active(self, profile: Profile) -> ModelSet:
        """The models whose result is the result.

        Raises:
            UnknownModel: the assigned one is not installed on this machine.
            UntrustedWeights: its files are not those that were assigned.
            ValueError: the device of the settings is not on this machine.
        """
        assigned = self._store.models.assigned(profile, ModelRole.ACTIVE)
        return self._models((SHIPPED, "") if assigned is None else _key(assigned))

    def shadow(self, assigned: ModelAssignment) -> ModelSet:
        """The model that runs beside it; raises as :meth:`active` does."""
        return self._models(_key(assigned))

    def _models(self, key: _Key) -> ModelSet:
        if key not in self._loaded:
            loaded = self._load(*key)
            assigned = {_key(one) for one in self._store.models.assignments()} | {(SHIPPED, "")}
            self._loaded = {known: one for known, one in self._loaded.items() if known in assigned}
            self._loaded[key] = loaded
        return self._loaded[key]

    def _load(self, reference: str, sha256: str) -> ModelSet:
        model = self._registry.find(reference)
        if sha256 and model.manifest.sha256 != sha256:
            raise UntrustedWeights(
                f"{reference} was put in use with SHA-256 {sha256}, and is installed with {model.manifest.sha256}."
            )
        device = self._settings.device
        loaded = ModelSet.load(model.directory, device=device, threads=self._settings.threads)
        _LOG.info("model.loaded", model=model.reference, sha256=model.manifest.sha256, device=device)
        return loaded


def _key(assigned: ModelAssignment) -> _Key:
    return assigned.reference, assigned.sha256
