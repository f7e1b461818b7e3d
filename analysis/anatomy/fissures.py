"""Moves the borders of lobes from where the shape of a lung puts them to the fissures, where the CT shows them."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from analysis.anatomy.border_surface import Axes, MovedSurface, Surface
from analysis.anatomy.fissure_slab import lay_out
from analysis.anatomy.fissure_track import fissure_in
from analysis.anatomy.sides import LEFT, RIGHT, Labels
from analysis.series.volume import Volume

Field = npt.NDArray[np.float32]

OBLIQUE_REACH_MM, HORIZONTAL_REACH_MM = 42.0, 36.0
"""How far from the border of the shape a fissure is looked for; one was found 30 mm off."""

THICKEST_MM = 3.5
"""Distance of slices up to which a fissure is looked for: further apart they show it as a blur, if at all."""

DOUBT_MM = 3.0
"""Scale of the logistic distribution of where a border that was moved truly runs."""

_HALF = 0.5
_LEAST_PROBABILITY = 1e-4
_OBLIQUE_UP, _HORIZONTAL_UP = (1.0, -1.0, 0.0), (1.0, 0.0, 0.0)


class Border(StrEnum):
    """A border between lobes that a fissure marks."""

    LEFT_OBLIQUE = "left oblique"
    RIGHT_OBLIQUE = "right oblique"
    RIGHT_HORIZONTAL = "right horizontal"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """A scan and its lungs: ``sides`` (slice, row, column); and the coarse grid on which lobes are told.

    ``axes`` are the places in mm of the grid's levels, rows and columns, as ``Surface`` has them: the position of a
    slice, and pixels from the first times their spacing. ``shares`` hold the share of each voxel of the grid that is
    right or left lung.
    """

    volume: Volume
    sides: Labels
    axes: Axes
    shares: Mapping[int, Field]


def on_fissures(probabilities: Field, scene: Scene, whole: Sequence[int]) -> tuple[Field, frozenset[Border]]:
    """Probabilities (5, level, row, column) with borders at the fissures, and which borders were moved there.

    ``whole`` are the sides of which no part is cut off: a border of a lung that is cut off stays, and so does one along
    which no fissure shows clearly, and every border of a scan of thick slices. Where none of a lung is moved its
    probabilities are those given; where one is, they are those of a border told to ``DOUBT_MM``. Time: 0.3 s of
    processor for 148 slices of 512 x 512, on two threads; it grows with the lungs, hardly with the number of voxels.
    """
    if scene.volume.slice_spacing_mm > THICKEST_MM:
        return probabilities, frozenset()
    scores = np.log(np.maximum(probabilities, _LEAST_PROBABILITY))
    tasks = {RIGHT: _right, LEFT: _left}
    with ThreadPoolExecutor(max_workers=len(tasks)) as pool:
        found = list(pool.map(lambda side: tasks[side](scores, scene), whole))
    told = probabilities.copy()
    for lobes, _ in found:
        if lobes:
            told[list(lobes)] = softmax(np.stack(list(lobes.values())), axis=0)
    return told, frozenset(border for _, borders in found for border in borders)


_Told = tuple[dict[int, Field], frozenset[Border]]


def _left(scores: Field, scene: Scene) -> _Told:
    surface = Surface.where_zero(scores[3] - scores[4], scene.shares[LEFT] > _HALF, scene.axes, _OBLIQUE_UP)
    moved = _moved(surface, scene, LEFT, OBLIQUE_REACH_MM)
    if moved is None:
        return {}, frozenset()
    above = moved.above_on(scene.axes) / DOUBT_MM
    return {3: above, 4: np.zeros_like(above)}, frozenset({Border.LEFT_OBLIQUE})


def _right(scores: Field, scene: Scene) -> _Told:
    upper, middle, lower = scores[:3]
    inside = scene.shares[RIGHT] > _HALF
    in_front, over = np.maximum(upper, middle) - lower, upper - middle
    borders: set[Border] = set()
    surface = Surface.where_zero(in_front, inside, scene.axes, _OBLIQUE_UP)
    oblique = _moved(surface, scene, RIGHT, OBLIQUE_REACH_MM)
    if oblique is not None:
        borders.add(Border.RIGHT_OBLIQUE)
        in_front = oblique.above_on(scene.axes) / DOUBT_MM
    surface = Surface.where_zero(over, inside & (in_front > 0), scene.axes, _HORIZONTAL_UP)
    horizontal = _moved(surface, scene, RIGHT, HORIZONTAL_REACH_MM)
    if horizontal is not None:
        borders.add(Border.RIGHT_HORIZONTAL)
        over = horizontal.above_on(scene.axes) / DOUBT_MM
    if not borders:
        return {}, frozenset()
    # of two lobes in front the one on the wrong side of the horizontal border is out of the question, so that the
    # difference of the other one to the lower lobe is that of the oblique border alone, up to where all three meet
    told = {0: in_front + np.minimum(over, 0), 1: in_front + np.minimum(-over, 0), 2: np.zeros_like(in_front)}
    return told, frozenset(borders)


def _moved(surface: Surface | None, scene: Scene, side: int, reach_mm: float) -> MovedSurface | None:
    """A border where its fissure shows; None where that is not clear."""
    slab = surface and lay_out(scene.volume, scene.sides, side, surface, reach_mm=reach_mm)
    sheet = slab and fissure_in(slab)
    if surface is None or slab is None or sheet is None:
        return None
    return MovedSurface(surface=surface, u=slab.u, v=slab.v, moved=sheet.moved)
