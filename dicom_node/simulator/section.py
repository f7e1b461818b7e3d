"""One slice of the phantom while it is drawn, and the tissues it is drawn in."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.interpolate import PchipInterpolator

from dicom_node.simulator.geometry import Floats, paint

AIR_HU = -1000.0
FAT_HU = -100.0
SKIN_HU = -10.0
MUSCLE_HU = 52.0
BLOOD_HU = 42.0

_LEVELS_MM = (0.0, 50.0, 100.0, 133.0, 176.0, 222.0, 250.0, 268.0, 296.0)


@cache
def _through(values: tuple[float, ...]) -> PchipInterpolator:
    return PchipInterpolator(_LEVELS_MM, values)


def at_height(values: tuple[float, ...], z_mm: float) -> float:
    """A measure given at the nine levels of the pattern, smoothly at any height."""
    return float(_through(values)(np.clip(z_mm, _LEVELS_MM[0], _LEVELS_MM[-1])))


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A slice: its HU (row, column), drawn in place, and where its pixels lie.

    ``wall`` is the signed distance to the inside of the rib cage in millimetres, ``streaks`` smooth noise of unit
    variance.
    """

    hu: Floats
    x: Floats
    y: Floats
    z: float
    wall: Floats
    streaks: Floats
    pixel_mm: float

    def paint(self, distance: Floats, value: Floats | float) -> None:
        """Draw a shape, given by its signed distance, over what is there."""
        paint(self.hu, distance, value, self.pixel_mm)
