"""A chest without its lungs' inside: body wall, bones, mediastinum, diaphragm, upper abdomen, and where the lungs are.

Sizes follow an adult man of medium build. z is 0 at the posterior costophrenic recess and about 270 mm at the apices.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from dicom_node.simulator.geometry import Floats, Grid, Tube, coverage, paint, superellipse, tube_distance
from dicom_node.simulator.mediastinum import great_vessels, large_airways, mediastinum_distances
from dicom_node.simulator.section import AIR_HU, MUSCLE_HU, Section, at_height
from dicom_node.simulator.skeleton import draw_bones, spine_room
from dicom_node.simulator.soft_tissue import draw_body, draw_inside
from dicom_node.simulator.texture import correlated_noise

_TRACHEA_HU = -990.0

_CHEST = {  # the inside of the rib cage: half width, half depth, centre's y
    "half_width": (157.0, 157.0, 151.0, 145.0, 126.0, 102.0, 82.0, 70.0, 55.0),
    "half_depth": (88.0, 92.0, 95.0, 95.0, 88.0, 69.0, 46.0, 27.0, 15.0),
    "centre": (5.0, 2.0, 0.0, 0.0, 4.0, 5.0, 14.0, 22.0, 26.0),
}
_SPINE_Y = (57.0, 58.0, 57.0, 55.0, 47.0, 42.0, 38.0, 36.0, 30.0)
_STREAK_MM = 7.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Habitus:
    """How this person differs from the pattern: size, and how far the diaphragm is up (expiration)."""

    scale: float = 1.0
    right_dome_mm: float = 88.0
    left_dome_mm: float = 82.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """The drawn body and the room left for the lungs.

    ``hu`` (slice, row, column) holds air where the lungs are; ``lung_distance`` is negative inside a lung;
    ``labels`` is 1 in the right lung and 2 in the left; ``wall_distance`` is negative inside the rib cage.
    """

    hu: Floats
    lung_distance: Floats
    wall_distance: Floats
    labels: np.ndarray
    airways: tuple[Tube, ...]


def build_anatomy(grid: Grid, habitus: Habitus, rng: np.random.Generator) -> Anatomy:
    """Draw the body and find the lungs' room."""
    pixel_mm = grid.spacing_mm[1]
    vessels, airways = great_vessels(), large_airways()
    mediastinum, organs = mediastinum_distances(grid, [*vessels, *airways])
    dome = _diaphragm(grid, habitus)
    streaks = correlated_noise(grid, _STREAK_MM, rng)
    hu = np.full(grid.shape, AIR_HU, np.float32)
    lung_distance = np.empty(grid.shape, np.float32)
    wall_distance = np.empty(grid.shape, np.float32)
    labels = np.zeros(grid.shape, np.uint8)
    x, y = grid.planes()
    for index, z in enumerate(grid.z_mm):
        wall = _chest_wall(x, y, float(z), habitus.scale)
        spine_y = at_height(_SPINE_Y, float(z))
        lung = np.maximum.reduce(
            [
                wall,
                3.5 - mediastinum[index],
                -spine_room(x, y, spine_y),
                dome[index] + 2.0,
                _thin_midline(x),
                _apex(x, y, float(z)),
            ]
        )
        section = Section(hu=hu[index], x=x, y=y, z=float(z), wall=wall, streaks=streaks[index], pixel_mm=pixel_mm)
        draw_body(section)
        draw_inside(section, dome[index], organs[index])
        draw_bones(section, spine_y)
        paint(hu[index], lung, AIR_HU, pixel_mm)
        lung_distance[index], wall_distance[index] = lung, wall
    _keep_two_lungs(grid, lung_distance, labels)
    for wall_mm, value in ((1.2, MUSCLE_HU), (0.0, _TRACHEA_HU)):
        for tube in airways:
            found = tube_distance(grid, tube, 3.0)
            if found:
                box, distance = found
                paint(hu[box], distance - np.float32(wall_mm), value, pixel_mm)
    return Anatomy(
        hu=hu, lung_distance=lung_distance, wall_distance=wall_distance, labels=labels, airways=tuple(airways)
    )


def _chest_wall(x: Floats, y: Floats, z: float, scale: float) -> Floats:
    half_width, half_depth, centre = (at_height(_CHEST[name], z) for name in ("half_width", "half_depth", "centre"))
    depth = np.clip((y - centre) / half_depth, -1, 1)
    width = half_width * scale * (1.0 + 0.06 * depth)  # widest in the posterior third
    return superellipse(x, y - centre, half_width=width, half_height=half_depth * scale, power=2.25)


def _thin_midline(x: Floats) -> Floats:
    return (1.6 - np.abs(x - 2.0)).astype(np.float32)


def _apex(x: Floats, y: Floats, z: float) -> Floats:
    """The rounded top of each lung."""
    top = 274.0 - 0.009 * (np.abs(x - 2.0) - 46.0) ** 2 - 0.007 * (y - 22.0) ** 2
    return (0.6 * (z - top)).astype(np.float32)


def _diaphragm(grid: Grid, habitus: Habitus) -> Floats:
    """How far a point lies below the diaphragm in millimetres: negative above it, where the lungs are."""
    x, y, z = grid.x_mm[None, :], grid.y_mm[:, None], grid.z_mm[:, None, None]
    surface = np.full((len(grid.y_mm), len(grid.x_mm)), -1000.0, np.float32)
    for centre, top in ((-76.0, habitus.right_dome_mm), (78.0, habitus.left_dome_mm)):
        sideways, deep = (x - centre) / 76.0, (y + 6.0) / 94.0
        radius_squared = sideways**2 + deep**2
        drop_at_rim = np.where(deep > 0, 84.0 * deep**2, 34.0 * deep**2) + 44.0 * sideways**2
        dome = top - drop_at_rim * radius_squared**0.25
        surface = np.maximum(surface, dome)
    surface = ndimage.gaussian_filter(surface, 3.0)
    return (0.8 * (surface[None] - z)).astype(np.float32)


def _keep_two_lungs(grid: Grid, lung_distance: Floats, labels: np.ndarray) -> None:
    """Keep the largest room on each side; what is left over is closed."""
    inside = lung_distance < 0
    for label, side in ((1, grid.x_mm < 2.0), (2, grid.x_mm >= 2.0)):
        parts, count = ndimage.label(inside & side[None, None, :])  # pyright: ignore[reportGeneralTypeIssues]
        if count:
            sizes = np.bincount(parts.ravel())
            sizes[0] = 0
            labels[parts == sizes.argmax()] = label
    stray = inside & (labels == 0)
    lung_distance[stray] = 1.0


def lung_coverage(anatomy: Anatomy, pixel_mm: float) -> Floats:
    """The share of each voxel that is lung, (slice, row, column)."""
    return coverage(anatomy.lung_distance, pixel_mm)
