"""Heart, great vessels, trachea and main bronchi, and the room that they take from the lungs."""

import numpy as np
from scipy import ndimage

from dicom_node.simulator.geometry import Floats, Grid, Tube, chain, ellipsoid, tube_distance


def great_vessels() -> list[Tube]:
    """Aorta, pulmonary trunk and arteries, venae cavae and the branches of the arch."""
    return [
        *chain(
            [(2, -30, 138), (-8, -38, 165), (-4, -34, 190), (10, -8, 202), (21, 22, 194), (24, 30, 170)],
            [14, 15, 14, 13, 12.5, 12],
        ),
        *chain([(24, 30, 170), (22, 27, 130), (12, 27, 80), (4, 27, 30), (2, 27, -60)], [12, 12, 11.5, 11, 11]),
        *chain([(12, -42, 138), (18, -34, 160), (26, -8, 171), (44, 6, 168)], [14, 14, 12, 9]),
        *chain([(18, -26, 162), (-8, -10, 158), (-42, -4, 152)], [12, 10.5, 8]),
        *chain([(-27, -18, 222), (-30, -20, 185), (-28, -14, 150)], [9, 10, 10]),
        *chain([(-24, -6, 118), (-24, 0, 85), (-22, 4, -40)], [12, 12, 12]),
        *chain([(-6, -28, 198), (-16, -12, 235), (-28, -4, 275), (-32, -4, 300)], [6.5, 6, 5, 4]),
        *chain([(6, -16, 202), (14, -6, 240), (22, -6, 300)], [4.5, 4, 4]),
        *chain([(17, 8, 202), (25, 10, 240), (46, 4, 275)], [5, 5, 4.5]),
        *chain([(-27, -18, 222), (-40, -16, 262), (-60, -20, 285)], [7.5, 7, 6]),
        *chain([(-27, -20, 218), (10, -42, 226), (44, -18, 262), (60, -20, 285)], [7, 6.5, 6.5, 6]),
        *chain([(3, 18, 300), (4, 26, 200), (2, 24, 130), (8, 12, 80)], [6, 6, 6, 6]),
    ]


def large_airways() -> list[Tube]:
    """Trachea and main bronchi, as far as the hila."""
    return [
        *chain([(-1, -16, 330), (-2, -12, 285), (-2, 4, 222), (1, 12, 170)], [8.5, 8.5, 8.5, 9.0]),
        *chain([(1, 12, 170), (-18, 11, 157), (-36, 8, 145)], [7.5, 7.0, 6.0]),
        *chain([(1, 12, 170), (24, 14, 156), (44, 13, 147)], [6.5, 6.0, 5.2]),
    ]


def mediastinum_distances(grid: Grid, tubes: list[Tube]) -> tuple[Floats, Floats]:
    """Signed distances (slice, row, column): to the whole mediastinum without its fat, and to its soft organs."""
    heart = ellipsoid(grid, (14, -40, 112), (66, 47, 46), 24)
    right_heart = ellipsoid(grid, (-18, -30, 122), (34, 36, 36))
    atrium = ellipsoid(grid, (4, 4, 136), (38, 18, 20))
    hilum_right = ellipsoid(grid, (-42, 2, 146), (11, 13, 20))
    hilum_left = ellipsoid(grid, (46, 7, 152), (11, 12, 18))
    organs = np.minimum.reduce([heart, right_heart, atrium])
    for tube in tubes:
        found = tube_distance(grid, tube, 10.0)
        if found:
            box, distance = found
            np.minimum(organs[box], distance, out=organs[box])
    x, y, z = grid.x_mm[None, None, :], grid.y_mm[None, :, None], grid.z_mm[:, None, None]
    upper = np.clip((z - 215.0) / 40.0, 0, 1)  # the neck's tissues widen towards the inlet
    front = np.clip((-y - 35.0) / 40.0, 0, 1) * (1 - upper)
    back = np.clip((y - 18.0) / 30.0, 0, 1)
    core = np.abs(x - 3.0) - (10.0 + 22.0 * upper - 10.0 * front + 6.0 * back)
    smoothing = [2.0 / spacing for spacing in grid.spacing_mm]
    all_parts = np.minimum.reduce([organs, hilum_right, hilum_left, core.astype(np.float32)])
    return ndimage.gaussian_filter(all_parts, smoothing), ndimage.gaussian_filter(
        organs, [0.8 * s / 2.0 for s in smoothing]
    )
