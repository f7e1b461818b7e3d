"""Places beside a lung, in shares of that lung's own extent, so that they mean the same in every chest."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates

Field = npt.NDArray[np.float32]

SAMPLES = (40, 40, 40)
"""Places from feet to head, front to back, and from the lung's inner border away from it."""

_RANGES = ((-0.3, 1.3), (-0.25, 1.25), (-0.3, 1.9))
_OUTERMOST = (3.0, 2.0, 2.0)
"""Share of the lung in percent that lies beyond each face: recesses and strays do not make its extent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceFrame:
    """Extent of a lung in mm; ``towards`` is 1 where the other lung lies at larger columns, else -1."""

    low_mm: tuple[float, float]
    high_mm: tuple[float, float]
    inner_mm: float
    outer_mm: float
    towards: int

    @classmethod
    def beside(
        cls, lung: npt.NDArray[np.bool_], axes_mm: tuple[npt.NDArray[np.float64], ...], *, towards: int
    ) -> "PlaceFrame":
        """The frame of a lung, bool (slice, row, column), whose voxels lie at these positions along each axis."""
        faces = [
            np.percentile(axis[places], (outermost, 100 - outermost))
            for axis, places, outermost in zip(axes_mm, np.nonzero(lung), _OUTERMOST, strict=True)
        ]
        inner, outer = faces[2][::-1] if towards > 0 else faces[2]
        return cls(
            low_mm=(float(faces[0][0]), float(faces[1][0])),
            high_mm=(float(faces[0][1]), float(faces[1][1])),
            inner_mm=float(inner),
            outer_mm=float(outer),
            towards=towards,
        )

    def places_mm(self) -> tuple[npt.NDArray[np.float64], ...]:
        """Positions of the samples along each axis, mm."""
        along = [
            low + np.linspace(*span, count) * (high - low)
            for low, high, span, count in zip(self._lows, self._highs, _RANGES, SAMPLES, strict=True)
        ]
        return along[0], along[1], along[2]

    def taken(self, mask: npt.NDArray[np.bool_], axes_mm: tuple[npt.NDArray[np.float64], ...]) -> Field:
        """A mask (slice, row, column) at the samples, 0 to 1, ``SAMPLES``."""
        where = [
            np.interp(place, axis, np.arange(len(axis)), left=-2, right=len(axis) + 1)
            for place, axis in zip(self.places_mm(), axes_mm, strict=True)
        ]
        grid = np.meshgrid(*where, indexing="ij")
        return np.asarray(map_coordinates(mask.astype(np.float32), grid, order=1, mode="constant"), np.float32)

    def laid(self, field: Field, axes_mm: tuple[npt.NDArray[np.float64], ...]) -> Field:
        """A field over the samples at the voxels of a grid, float32 (slice, row, column); 0 beyond the samples."""
        where = [
            ((axis - low) / (high - low) - span[0]) / (span[1] - span[0]) * (count - 1)
            for axis, low, high, span, count in zip(axes_mm, self._lows, self._highs, _RANGES, SAMPLES, strict=True)
        ]
        planes = np.meshgrid(where[1], where[2], indexing="ij")
        laid = [
            map_coordinates(field, [np.full(planes[0].shape, level), *planes], order=1, mode="constant")
            for level in where[0]
        ]
        return np.asarray(np.stack(laid), np.float32)

    @property
    def _lows(self) -> tuple[float, float, float]:
        return *self.low_mm, self.inner_mm

    @property
    def _highs(self) -> tuple[float, float, float]:
        """Away from the lung the samples go on by its own width."""
        return *self.high_mm, 2 * self.inner_mm - self.outer_mm
