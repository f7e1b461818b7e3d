"""The border between two lobes as a height over a plane: from a coarse field, and back to one."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates

Floats = npt.NDArray[np.float64]
Axes = tuple[Floats, Floats, Floats]
"""Places in mm of the levels, rows and columns of a grid."""

UNIT_MM = 50.0
"""Distance in the plane at which a tilt or a bend of 1 lifts the border by 1 mm."""

_LEAST_POINTS = 60
_ROOM_MM = 20.0
_RIDGE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Surface:
    """A border: its mean plane, and a quadratic height in mm over it.

    ``centre``, ``normal``, ``across`` and ``along`` are (3,) in mm on slice, row and column; the last three are
    orthonormal, ``across`` the way of the columns as far as the plane allows. ``form`` (6,) are the coefficients of
    ``terms``. ``reach`` holds the lowest and highest place across and along that the border takes, with some room.
    """

    centre: Floats
    normal: Floats
    across: Floats
    along: Floats
    form: Floats
    reach: tuple[tuple[float, float], tuple[float, float]]

    @classmethod
    def where_zero(
        cls, field: npt.NDArray[np.float32], inside: npt.NDArray[np.bool_], axes: Axes, up: tuple[float, float, float]
    ) -> "Surface | None":
        """The surface on which a field (level, row, column) changes its sign inside; None where that is hardly so.

        The normal points the way of ``up``, roughly.
        """
        points = _crossings(field, inside, axes)
        if len(points) < _LEAST_POINTS:
            return None
        centre = points.mean(axis=0)
        normal = np.linalg.eigh(np.cov((points - centre).T))[1][:, 0]
        normal = normal if normal @ np.asarray(up) >= 0 else -normal
        across = np.asarray([0.0, 0.0, 1.0]) - normal[2] * normal
        across /= np.linalg.norm(across)
        along = np.cross(normal, across)
        u, v, height = ((points - centre) @ axis for axis in (across, along, normal))
        basis = terms(u, v)
        ridge = np.diag([0, 0, 0, _RIDGE, _RIDGE, _RIDGE]) * len(points)
        form = np.linalg.solve(basis.T @ basis + ridge, basis.T @ height)
        reach = tuple((float(place.min()) - _ROOM_MM, float(place.max()) + _ROOM_MM) for place in (u, v))
        return cls(centre=centre, normal=normal, across=across, along=along, form=form, reach=(reach[0], reach[1]))

    def heights(self, u: Floats, v: Floats) -> Floats:
        """Height in mm of the border over places of the plane."""
        return terms(u, v) @ self.form


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MovedSurface:
    """A border that was moved by ``moved`` (u, v) in mm along its normal, at evenly spaced ``u`` and ``v`` in mm."""

    surface: Surface
    u: Floats
    v: Floats
    moved: Floats

    def above_on(self, axes: Axes) -> npt.NDArray[np.float32]:
        """How far in mm along the normal each place of a grid lies above the border, (level, row, column).

        Beyond the ends of ``u`` and ``v`` the border keeps the height it has there.
        """
        surface = self.surface
        levels, rows, columns = (place - middle for place, middle in zip(axes, surface.centre, strict=True))
        across, along, height = (
            levels[:, None, None] * way[0] + rows[:, None] * way[1] + columns * way[2]
            for way in (surface.across, surface.along, surface.normal)
        )
        across, along = np.clip(across, self.u[0], self.u[-1]), np.clip(along, self.v[0], self.v[-1])
        index = ((across - self.u[0]) / (self.u[1] - self.u[0]), (along - self.v[0]) / (self.v[1] - self.v[0]))
        shift = map_coordinates(self.moved, index, order=1, mode="nearest")
        return np.asarray(height - surface.heights(across, along) - shift, np.float32)


def terms(u: Floats, v: Floats) -> Floats:
    """Shift, two tilts and three bends at places in mm of a plane, one more axis of 6."""
    u, v = u / UNIT_MM, v / UNIT_MM
    return np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=-1)


def _crossings(field: npt.NDArray[np.float32], inside: npt.NDArray[np.bool_], axes: Axes) -> Floats:
    """Places (n, 3) in mm where the field changes its sign between neighbours that are both inside."""
    found: list[Floats] = []
    for axis in range(3):
        low, high = ([slice(None)] * 3 for _ in range(2))
        low[axis], high[axis] = slice(0, -1), slice(1, None)
        below, above = field[tuple(low)], field[tuple(high)]
        where = inside[tuple(low)] & inside[tuple(high)] & ((below > 0) != (above > 0))
        index = np.argwhere(where)
        share = below[where] / (below[where] - above[where])
        places = np.stack([way[index[:, item]] for item, way in enumerate(axes)], axis=1)
        places[:, axis] += share * (axes[axis][index[:, axis] + 1] - axes[axis][index[:, axis]])
        found.append(places)
    return np.concatenate(found)
