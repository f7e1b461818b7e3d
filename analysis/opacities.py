"""Opacities of a scan: what the network calls, and lung without air, which needs no network to be told."""

import numpy as np
import numpy.typing as npt

from analysis.anatomy.lungs import Lungs
from analysis.findings import Profile
from analysis.measure.regions import HIGH_OPACITY
from analysis.models import LesionModel
from analysis.series.volume import Volume


def segment_opacities(volume: Volume, lungs: Lungs, model: LesionModel, *, profile: Profile) -> npt.NDArray[np.uint8]:
    """Labels (slice, row, column) inside the lungs: 0 background, 1 ground glass, 2 high opacity.

    Airless lung, which is consolidation or effusion or takes their place, is high opacity where the network calls it
    nothing: whole lobes and lungs of it were in no network's training.
    """
    mask = lungs.mask
    labels = model.segment(volume.hu, mask, slice_spacing_mm=volume.slice_spacing_mm, profile=profile)
    labels = np.where(mask, labels, 0).astype(np.uint8)
    if lungs.airless is not None:
        labels[lungs.airless & (labels == 0)] = HIGH_OPACITY
    return labels
