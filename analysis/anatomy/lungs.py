"""Lungs by classical means."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.series.volume import Volume

RIGHT, LEFT = 1, 2
"""Labels of the patient's right and left lung."""

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lungs:
    """Labels on the grid of a volume: uint8 (slice, row, column), 0 elsewhere, 1 right lung, 2 left lung."""

    labels: npt.NDArray[np.uint8]

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """Both lungs as bool (slice, row, column)."""
        return self.labels > 0

    @property
    def box(self) -> Box | None:
        """Smallest box that holds both lungs; None where there is no lung."""
        occupied = self.labels > 0
        slices = np.flatnonzero(occupied.any(axis=(1, 2)))
        if not slices.size:
            return None
        plane = occupied.any(axis=0)
        rows, columns = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
        return (
            slice(int(slices[0]), int(slices[-1]) + 1),
            slice(int(rows[0]), int(rows[-1]) + 1),
            slice(int(columns[0]), int(columns[-1]) + 1),
        )


def segment_lungs(volume: Volume) -> Lungs:
    """Stub."""
    raise NotImplementedError
