"""Where the lobes of a whole lung lie, told from its shape by a linear model."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, map_coordinates

Field = npt.NDArray[np.float32]

BOX = (24, 18, 15)
"""Samples of a lung's own box from feet to head, front to back and right to left: about a centimetre apart."""

SIDES: Mapping[str, tuple[int, int]] = {"right": (0, 3), "left": (3, 5)}
"""Which of the five lobes belong to which lung, first and one past the last."""

_PARTS = ("mean", "basis", "answers")
_OUTERMOST = 0.005
"""Share of a lung that may lie beyond each face of its box, so that no stray voxel makes the box."""
_ROOM = 0.04
_BLUR = 1.0
_CLEAR = 4.0
CUT_SHARE = 0.1
"""A lung is cut off where the first or last level that was imaged holds more than this share of its largest area."""

Box = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SideShape:
    """One lung's model: ``mean`` (n,) and ``basis`` (k, n) of its shape, ``answers`` (1 + k, lobes, n) of its lobes.

    n counts the samples of ``BOX``; the first answer is that of the mean shape, each further one belongs to a row of
    ``basis``. An answer is the distance to the lobe's border in samples, positive within.
    """

    mean: Field
    basis: Field
    answers: Field

    def told(self, form: Field) -> Field:
        """Distances (lobes, *BOX) of a lung whose box looks like ``form``, (*BOX)."""
        along = self.basis @ (form.reshape(-1) - self.mean)
        return (self.answers[0] + np.tensordot(along, self.answers[1:], axes=1)).reshape(-1, *BOX)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LobeShape:
    """The models of both lungs."""

    right: SideShape
    left: SideShape

    def arrays(self) -> dict[str, npt.NDArray[np.float16]]:
        """Name and array of each part, as it is stored."""
        return {
            f"{name}.{part}": getattr(getattr(self, name), part).astype(np.float16) for name in SIDES for part in _PARTS
        }

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[np.float16]]) -> "LobeShape":
        """The models that were stored as these arrays.

        Raises:
            KeyError: a part is missing.
            ValueError: a part has another form.
        """
        sides: dict[str, SideShape] = {}
        for name, (first, last) in SIDES.items():
            side = SideShape(**{part: arrays[f"{name}.{part}"].astype(np.float32) for part in _PARTS})
            samples, parts = int(np.prod(BOX)), len(side.basis)
            forms = (side.mean.shape, side.basis.shape, side.answers.shape)
            if forms != ((samples,), (parts, samples), (1 + parts, last - first, samples)):
                raise ValueError(f"The shape of the {name} lung is stored in another form: {forms}")
            sides[name] = side
        return cls(**sides)

    def scores(self, right: Field, left: Field, imaged: npt.NDArray[np.bool_]) -> Field:
        """How far within each lobe a place lies, -4 to 4 samples, (5, slice, row, column); 0 where a lung is cut off.

        ``right`` and ``left`` (slice, row, column) hold the share of each voxel that is this lung, ``imaged`` (slice,)
        which levels the scan holds.
        """
        found = np.zeros((5, *right.shape), np.float32)
        for name, lung in (("right", right), ("left", left)):
            if not lung.any() or _is_cut(lung, imaged):
                continue
            box = box_of(lung)
            told: SideShape = getattr(self, name)
            fields = told.told(boxed(lung, box))
            place = np.meshgrid(
                *(
                    (np.arange(count, dtype=np.float32) + 0.5 - low) / (high - low) * samples - 0.5
                    for count, (low, high), samples in zip(lung.shape, box, BOX, strict=True)
                ),
                indexing="ij",
            )
            for index, field in enumerate(fields, SIDES[name][0]):
                map_coordinates(field, place, output=found[index], order=1, mode="nearest")
        return np.clip(found, -_CLEAR, _CLEAR)


def box_of(lung: Field) -> Box:
    """The box of a lung in voxels, low and high on each axis: all but its outermost hundredth, and some room."""
    box: list[tuple[float, float]] = []
    for axis in range(3):
        mass = np.cumsum(lung.sum(axis=tuple(item for item in range(3) if item != axis), dtype=np.float64))
        edges = np.concatenate([[0.0], mass / mass[-1]])
        low, high = (float(np.interp(share, edges, np.arange(len(edges)))) for share in (_OUTERMOST, 1 - _OUTERMOST))
        room = max(high - low, 1e-3) * _ROOM
        box.append((low - room, high + room))
    return tuple(box)


def boxed(values: Field, box: Box, *, blurred: bool = True) -> Field:
    """Values (slice, row, column) sampled in a box, (*BOX)."""
    place = np.meshgrid(
        *(
            (np.arange(samples, dtype=np.float32) + 0.5) / samples * (high - low) + low - 0.5
            for (low, high), samples in zip(box, BOX, strict=True)
        ),
        indexing="ij",
    )
    found = np.asarray(map_coordinates(values, place, order=1, mode="constant"), np.float32)
    return np.asarray(gaussian_filter(found, _BLUR), np.float32) if blurred else found


def _is_cut(lung: Field, imaged: npt.NDArray[np.bool_]) -> bool:
    area = lung.sum(axis=(1, 2))
    seen = np.flatnonzero(imaged)
    ends = [int(end) for end, beyond in ((seen[0], seen[0] - 1), (seen[-1], seen[-1] + 1)) if 0 <= beyond < len(area)]
    return any(area[end] > CUT_SHARE * area.max() for end in ends)
