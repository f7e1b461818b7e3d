"""Lungs that were not found, in whole or in part, told by the other lung.

Removed, collapsed and wholly opaque lung looks like chest wall to who looks for air. Limits lie beyond what 41 whole
lungs show (LUNA16 lobe label maps), and where the series cuts lungs off, beyond what any part of them shows.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MISSING_SHARE = 0.1
"""Under this share of the other's volume a lung was not found: what is left are airways and remnants."""

SMALL_SHARE, SMALL_SHARE_IN_PART = 0.55, 0.4
"""Under this share a part was not found; 0.64 and more in whole lungs, 0.41 and more in parts of 80 mm."""

LOST_HEIGHT_MM = 55.0
"""Height over which there is only one lung, of levels that matter: a high diaphragm makes 40 mm of it at most."""

LOST_DEPTH_MM = 25.0
"""Depth, front to back, by which a lung is shallower at half of its levels: up to 10 mm in whole lungs."""

_LEVEL_SHARE, _BESIDE_SHARE = 0.2, 0.2
_DEEP_LEVEL_SHARE = 0.3
_LEAST_HEIGHT_MM = 80.0
_FRONT, _BACK = 0.03, 0.97


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LungProfile:
    """Area of a lung in each slice, mm², and how deep it is from front to back, mm; both (slice,)."""

    area_mm2: npt.NDArray[np.float64]
    depth_mm: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class LackingLung:
    """What of a lung was not found: its share of the other's volume, height and depth that it lacks (0: none)."""

    volume_share: float
    height_mm: float = 0.0
    depth_mm: float = 0.0
    found_height_percent: float = 100.0

    @property
    def missing(self) -> bool:
        """Whether hardly anything of it was found."""
        return self.volume_share < MISSING_SHARE


def profile_of(lung: npt.NDArray[np.bool_], *, row_mm: float, column_mm: float) -> LungProfile:
    """The profile of a lung, bool (slice, row, column)."""
    rows = np.count_nonzero(lung, axis=2)
    area = rows.sum(axis=1)
    share = rows.cumsum(axis=1) / np.maximum(area, 1)[:, None]
    depth = np.argmax(share >= _BACK, axis=1) - np.argmax(share >= _FRONT, axis=1)
    return LungProfile(area_mm2=area * (row_mm * column_mm), depth_mm=depth * row_mm)


def what_lacks(
    lung: LungProfile, other: LungProfile, weights_mm: npt.NDArray[np.float64], *, whole: bool
) -> LackingLung | None:
    """What a lung lacks beside the other one; None where nothing does, or too little is imaged to tell.

    ``weights_mm`` (slice,) is the height of each slice; ``whole`` says that both lungs end inside the series.
    """
    largest = other.area_mm2.max(initial=0.0)
    levels = other.area_mm2 > _LEVEL_SHARE * largest
    height = float(weights_mm[levels].sum())
    if height < _LEAST_HEIGHT_MM:
        return None
    share = float(lung.area_mm2 @ weights_mm) / float(other.area_mm2 @ weights_mm)
    lost = float(weights_mm[levels & (lung.area_mm2 < _BESIDE_SHARE * other.area_mm2)].sum())
    if share < MISSING_SHARE:
        return LackingLung(volume_share=share, height_mm=height, found_height_percent=0.0)
    deep = np.minimum(lung.area_mm2, other.area_mm2)
    deep = deep > _DEEP_LEVEL_SHARE * min(lung.area_mm2.max(), largest)
    shallow = float(np.median((other.depth_mm - lung.depth_mm)[deep])) if whole and deep.any() else 0.0
    low, thin = lost >= LOST_HEIGHT_MM, shallow >= LOST_DEPTH_MM
    if not low and not thin and share >= (SMALL_SHARE if whole else SMALL_SHARE_IN_PART):
        return None
    return LackingLung(
        volume_share=share,
        height_mm=lost if low else 0.0,
        depth_mm=shallow if thin else 0.0,
        found_height_percent=100.0 * (1 - lost / height) if low else 100.0,
    )
