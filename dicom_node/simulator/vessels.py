"""Branching trees inside the lungs: arteries with bronchi beside them, and veins.

Points spread through a lung are joined, nearest to the root first, to the node that costs least: distance plus a share
of the way already travelled (Cuntz et al. 2010, PLoS Computational Biology 6:e1000877). Radii follow Murray's law:
the cube of a parent's radius is the sum of its children's cubes.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dicom_node.simulator.geometry import Floats, Grid, Point, Tube, coverage, tube_distance

_BALANCE = 0.55
_TIP_RADIUS_MM = 0.55
_LARGEST_RADIUS_MM = 7.0
_BRONCHUS_FROM_MM = 1.15
_MURRAY = 2.7
_BEND_MM = 1.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """Tubes from the hilum to the periphery, thickest first."""

    tubes: tuple[Tube, ...]


def grow_tree(points: NDArray[np.float64], root: Point, rng: np.random.Generator) -> Tree:
    """Join points (n, 3) in millimetres (x, y, z) to a root into a tree of tapering tubes."""
    order = np.argsort(np.linalg.norm(points - np.asarray(root), axis=1))
    nodes = np.vstack([np.asarray(root)[None, :], points[order]])
    parent = np.zeros(len(nodes), np.int64)
    travelled = np.zeros(len(nodes))
    for index in range(1, len(nodes)):
        step = np.linalg.norm(nodes[:index] - nodes[index], axis=1)
        best = int(np.argmin(step + _BALANCE * travelled[:index]))
        parent[index], travelled[index] = best, travelled[best] + step[best]
    flow = np.full(len(nodes), _TIP_RADIUS_MM**_MURRAY)
    for index in range(len(nodes) - 1, 0, -1):
        flow[parent[index]] += flow[index]
    radius = np.minimum(flow ** (1.0 / _MURRAY), _LARGEST_RADIUS_MM)
    tubes: list[Tube] = []
    for index in range(1, len(nodes)):
        start, end = nodes[parent[index]], nodes[index]
        bend = 0.5 * (start + end) + rng.normal(0.0, _BEND_MM, 3)
        first = min(radius[parent[index]], 1.15 * radius[index])
        for (a, b), (from_mm, to_mm) in zip(
            pairwise((start, bend, end)), pairwise((first, radius[index], radius[index])), strict=True
        ):
            tubes.append(
                Tube(start=_point(a), end=_point(b), start_radius_mm=float(from_mm), end_radius_mm=float(to_mm))
            )
    return Tree(tubes=tuple(sorted(tubes, key=lambda tube: -tube.start_radius_mm)))


def bronchi_of(tree: Tree, offset: Point = (1.0, -0.6, 0.35)) -> tuple[Tube, ...]:
    """The airways that run beside the larger arteries of a tree; a radius is that of the lumen and wall together."""
    direction = np.asarray(offset) / np.linalg.norm(offset)
    bronchi: list[Tube] = []
    for tube in tree.tubes:
        if tube.end_radius_mm < _BRONCHUS_FROM_MM:
            continue
        aside = direction * (tube.start_radius_mm + 0.9 * tube.start_radius_mm)
        bronchi.append(
            Tube(
                start=_point(np.asarray(tube.start) + aside),
                end=_point(np.asarray(tube.end) + aside),
                start_radius_mm=0.9 * tube.start_radius_mm,
                end_radius_mm=0.9 * tube.end_radius_mm,
            )
        )
    return tuple(bronchi)


def draw_tubes(grid: Grid, tubes: tuple[Tube, ...], *, shrink_mm: float = 0.0) -> Floats:
    """The share of each voxel inside any of the tubes, (slice, row, column); thin ones keep their cross-section."""
    slice_mm, pixel_mm, _ = grid.spacing_mm
    share = np.zeros(grid.shape, np.float32)
    for tube in tubes:
        radius = tube.end_radius_mm - shrink_mm
        if radius <= 0:
            continue
        drawn = max(radius, 0.5 * pixel_mm)
        wider = Tube(
            start=tube.start,
            end=tube.end,
            start_radius_mm=max(tube.start_radius_mm - shrink_mm, drawn),
            end_radius_mm=drawn,
        )
        found = tube_distance(grid, wider, max(pixel_mm, 0.5 * slice_mm))
        if found is None:
            continue
        box, distance = found
        thin = min(1.0, (radius / drawn) ** 2)
        np.maximum(share[box], thin * coverage(distance, pixel_mm), out=share[box])
    return share


def spread_points(
    candidates: NDArray[np.intp], grid: Grid, count: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Points (count, 3) in millimetres (x, y, z) drawn from voxels (n, 3) given as (slice, row, column)."""
    chosen = candidates[rng.choice(len(candidates), size=min(count, len(candidates)), replace=False)]
    jitter = rng.uniform(-0.5, 0.5, chosen.shape) * np.asarray(grid.spacing_mm)
    along = np.stack([grid.z_mm[chosen[:, 0]], grid.y_mm[chosen[:, 1]], grid.x_mm[chosen[:, 2]]], axis=1) + jitter
    return along[:, ::-1].astype(np.float64)


def _point(values: NDArray[np.float64]) -> Point:
    return float(values[0]), float(values[1]), float(values[2])
