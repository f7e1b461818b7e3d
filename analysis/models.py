"""The models that an analysis is given: one that tells lesions, one that tells lungs, one that tells lobes.

A fourth tells the place of a lung that was not found.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from analysis.anatomy import LobeModel, LungModel, PlaceModel
from analysis.findings import Profile, Provenance


class LesionModel(Protocol):
    """What is asked of the model that tells lesions; the segmenter is one."""

    def segment(
        self,
        hu: npt.NDArray[np.int16],
        lung_mask: npt.NDArray[np.bool_],
        *,
        slice_spacing_mm: float,
        profile: Profile = ...,
        margin_percent: float | None = ...,
    ) -> npt.NDArray[np.uint8]:
        """Labels (slice, row, column) of a volume in HU: 0 background, 1 ground glass, 2 high opacity."""
        ...

    def provenance(self, profile: Profile) -> Provenance:
        """Which model on what."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelSet:
    """Everything that an analysis computes with; nothing else holds weights."""

    lesions: LesionModel
    lungs: LungModel
    lobes: LobeModel
    places: PlaceModel

    @classmethod
    def load(cls, directory: Path | None = None, *, device: str = "auto", threads: int | None = None) -> "ModelSet":
        """The lesion model of a folder (default: the package's) beside the anatomy models of the package.

        Raises:
            UntrustedWeights: a file is missing, malformed, or not the one that its manifest names.
            ValueError: the device is not on this machine.
        """
        from analysis.model import Segmenter

        return cls(
            lesions=Segmenter.load(directory, device=device, threads=threads),
            lungs=LungModel.load(),
            lobes=LobeModel.load(),
            places=PlaceModel.load(),
        )

    def provenance(self, profile: Profile, *, hidden_lung: bool = False) -> Provenance:
        """What a result of these models names; with ``hidden_lung`` also what told its place."""
        told = replace(self.lesions.provenance(profile), lungs=self.lungs.algorithm, lobes=self.lobes.algorithm)
        return replace(told, places=self.places.algorithm) if hidden_lung else told
