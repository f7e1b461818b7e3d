"""How much of the lungs the series shows: where its ends or its field of view cut them off, and what was not found."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.anatomy.lungs import LEFT, RIGHT, Lungs
from analysis.measure.lacking import LackingLung, profile_of, what_lacks
from analysis.series.volume import MINIMUM_HU, Volume

CUT_AREA_SHARE = 0.15
"""A lung goes on outside where the first or last slice holds more than this share of its largest area.

Whole lungs end in slices of far less than that; only the posterior recess may reach the first slice as a sickle.
"""

HEIGHT_BY_WIDTH = 0.94
"""Height of both lungs by their width: 0.94 with a spread of 11 % in 41 whole lungs (LUNA16 lobe label maps)."""

_NAMES = {RIGHT: "right", LEFT: "left"}
_WHOLE_AT_MOST = 0.99
_PADDED_SLICES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Imaged share of the lungs' height in percent, and the ends and sides at which lungs are cut off.

    ``ends`` holds pairs of lung and end, such as ("right", "above"); ``sides`` the lungs that the field of view cuts,
    ``cut_off_percent`` the share of the lungs' outline that lies on its border. ``lacking`` tells, by name, what was
    not found of a lung though the images show its place.
    """

    percent: float
    ends: tuple[tuple[str, str], ...]
    sides: tuple[str, ...]
    cut_off_percent: float
    lacking: Mapping[str, LackingLung]

    def percent_of(self, lung: str) -> float:
        """Share of the height of the right or left lung that was imaged and found, in percent."""
        imaged = self.percent if any(lung == cut for cut, _ in self.ends) else 100.0
        return imaged * self.lacking[lung].found_height_percent / 100 if lung in self.lacking else imaged


def measure_coverage(volume: Volume, lungs: Lungs, *, cut_area_share: float = CUT_AREA_SHARE) -> Coverage | None:
    """Tell what of the lungs was imaged; None where there are none.

    Lungs that end inside the volume are whole. Where they are cut off above or below, how far they go on can only be
    guessed: from their width, which the ribs give and which hardly depends on what was left out (within some 11 %).
    """
    box = lungs.box
    if box is None:
        return None
    ends: list[tuple[str, str]] = []
    for label, name in _NAMES.items():
        area = np.count_nonzero(lungs.labels[box[0], box[1], box[2]] == label, axis=(1, 2))
        for index, at_end, end in (
            (0, box[0].start == 0, "below"),
            (-1, box[0].stop == len(volume.hu), "above"),
        ):
            if at_end and area.any() and area[index] > cut_area_share * area.max():
                ends.append((name, end))
    percent = 100.0
    if ends:
        height_mm = float(volume.slice_weights_mm[box[0]].sum())
        width_mm = (box[2].stop - box[2].start) * volume.column_spacing_mm
        percent = 100.0 * height_mm / max(height_mm / _WHOLE_AT_MOST, HEIGHT_BY_WIDTH * width_mm)
    sides, share = _cut_by_field_of_view(volume, lungs, box)
    lacking = _lacking(volume, lungs, box, whole=not ends, cut_off=sides)
    missing = {name for name, lacks in lacking.items() if lacks.missing}
    return Coverage(
        percent=percent,
        ends=tuple(end for end in ends if end[0] not in missing),
        sides=sides,
        cut_off_percent=share,
        lacking=lacking,
    )


def _lacking(
    volume: Volume, lungs: Lungs, box: tuple[slice, slice, slice], *, whole: bool, cut_off: tuple[str, ...]
) -> dict[str, LackingLung]:
    """What each lung lacks beside the other, unless that is missing; of one that the field of view cuts off nothing."""
    profiles = {
        name: profile_of(lungs.labels[box] == label, row_mm=volume.row_spacing_mm, column_mm=volume.column_spacing_mm)
        for label, name in _NAMES.items()
    }
    found: dict[str, LackingLung] = {}
    for name, other in (("right", "left"), ("left", "right")):
        lacks = what_lacks(profiles[name], profiles[other], volume.slice_weights_mm[box[0]], whole=whole)
        if lacks is not None and name not in cut_off:
            found[name] = lacks
    return {name: lacks for name, lacks in found.items() if lacks.missing} or found


def _cut_by_field_of_view(
    volume: Volume, lungs: Lungs, box: tuple[slice, slice, slice]
) -> tuple[tuple[str, ...], float]:
    """Lungs with pixels next to what was never imaged, and the share of the outline that is so, in percent."""
    beyond = ~_imaged(volume)
    if not _widened(beyond)[box[1], box[2]].any() and not _touches_border(volume, box):
        return (), 0.0
    near = _widened(np.pad(beyond, 1, constant_values=True))[1:-1, 1:-1][box[1], box[2]]
    outline = on_border = 0
    touching: dict[str, int] = {"right": 0, "left": 0}
    for index in range(box[0].start, box[0].stop):
        sides = lungs.labels[index, box[1], box[2]]
        lung = np.pad(sides > 0, 1)
        inner = lung[:-2, 1:-1] & lung[2:, 1:-1] & lung[1:-1, :-2] & lung[1:-1, 2:]
        outline += int(np.count_nonzero((sides > 0) & ~inner))
        for label, name in _NAMES.items():
            touching[name] += int(np.count_nonzero((sides == label) & near))
    on_border = sum(touching.values())
    return tuple(name for name, pixels in touching.items() if pixels), 100.0 * on_border / max(1, outline)


def _imaged(volume: Volume) -> npt.NDArray[np.bool_]:
    """Pixels of the plane (row, column) that hold more than padding in some slice."""
    chosen = np.unique(np.linspace(0, len(volume.hu) - 1, _PADDED_SLICES).astype(int))
    return np.max(volume.hu[chosen], axis=0) > MINIMUM_HU


def _touches_border(volume: Volume, box: tuple[slice, slice, slice]) -> bool:
    rows, columns = volume.hu.shape[1:]
    return box[1].start == 0 or box[2].start == 0 or box[1].stop == rows or box[2].stop == columns


def _widened(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Add the four neighbours of every pixel."""
    wide = mask.copy()
    wide[1:] |= mask[:-1]
    wide[:-1] |= mask[1:]
    wide[:, 1:] |= mask[:, :-1]
    wide[:, :-1] |= mask[:, 1:]
    return wide
