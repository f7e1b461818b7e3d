"""The box around the lungs that the network looks at: one for all slices of a scan. Needs numpy only."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MARGIN_PERCENT = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LungBox:
    """Rows ``top:bottom`` and columns ``left:right`` in pixels; may reach beyond the image."""

    top: int
    bottom: int
    left: int
    right: int

    def __post_init__(self) -> None:
        if self.bottom <= self.top or self.right <= self.left:
            raise ValueError(f"an empty box: {self}")


def lung_box(lung: NDArray[np.bool_], *, margin_percent: float = MARGIN_PERCENT) -> LungBox:
    """The box of a lung mask ``(slice, row, column)`` with a margin on each side, a share of the box's own extent."""
    rows = np.flatnonzero(lung.any(axis=(0, 2)))
    columns = np.flatnonzero(lung.any(axis=(0, 1)))
    if not len(rows):
        raise ValueError("the mask holds no lung")
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    above = round((bottom - top) * margin_percent / 100)
    beside = round((right - left) * margin_percent / 100)
    return LungBox(top=top - above, bottom=bottom + above, left=left - beside, right=right + beside)
