"""Agreement of two masks, as counts and as Dice; pure arithmetic."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Voxels in both masks, in the one that was found, and in the true one."""

    both: int
    found: int
    true: int

    @property
    def dice(self) -> float | None:
        """Dice coefficient; None where neither mask holds anything."""
        total = self.found + self.true
        return 2 * self.both / total if total else None

    @property
    def sensitivity(self) -> float | None:
        """Share of the true voxels that was found; None where there are none."""
        return self.both / self.true if self.true else None

    def __add__(self, other: "Overlap") -> "Overlap":
        return Overlap(both=self.both + other.both, found=self.found + other.found, true=self.true + other.true)


def overlap(found: Mask, true: Mask) -> Overlap:
    """Compare two masks of one shape."""
    if found.shape != true.shape:
        raise ValueError(f"masks of shapes {found.shape} and {true.shape}")
    return Overlap(
        both=int(np.count_nonzero(found & true)), found=int(np.count_nonzero(found)), true=int(np.count_nonzero(true))
    )


def percent(part: float, whole: float) -> float | None:
    """``part`` as a share of ``whole`` in percent; None where there is no whole."""
    return 100.0 * part / whole if whole else None
