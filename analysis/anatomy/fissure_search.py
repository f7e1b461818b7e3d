"""Where in a slab the sheet lies that is most like a fissure, as a shift, two tilts and three bends of the border."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.anatomy.border_surface import Floats, terms
from analysis.anatomy.fissure_slab import HEIGHT_STEP_MM, Slab

_USUAL_MM = np.asarray([25.0, 12.0, 12.0, 6.0, 6.0, 6.0])
"""How far a border told from the shape may well lie off: shift, and tilts and bends 50 mm from the middle."""
_PRIOR = 0.07
_TILTS_MM = np.arange(-3, 4) * 5.0
_STARTS, _APART_MM = 6, 5.0
_STEPS_MM, _ROUNDS = (4.0, 2.0, 1.0), 5
_PAD = 30
_NEAR_MM = 12.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Columns:
    """The columns of a slab that hold lung, and what a shift, tilts and bends do to each.

    ``basis`` (u, v, 6) is that of the whole slab, ``members`` (u, v) tells the columns, ``values`` (column, height) is
    their evidence in units of its own spread, ``count`` how many columns a surface near the border has.
    """

    basis: Floats
    members: npt.NDArray[np.bool_]
    values: Floats
    count: float
    middle: float

    @classmethod
    def of(cls, slab: Slab) -> "Columns":
        """The columns of a slab; tilts and bends are about their middle, so that they leave the mean height alone."""
        members = np.asarray(slab.known.any(axis=2))
        basis = terms(slab.u[:, None] + 0 * slab.v, slab.v + 0 * slab.u[:, None])
        basis[..., 1:] -= basis[members][:, 1:].mean(axis=0)
        values = slab.evidence[members] / max(float(slab.evidence[slab.known].std()), 1e-6)
        # smoothed along the height, so that a start a millimetre off is seen
        values[:, 1:-1] = (values[:, :-2] + 2 * values[:, 1:-1] + values[:, 2:]) / 4
        near = np.abs(slab.heights) <= _NEAR_MM
        return cls(
            basis=basis,
            members=members,
            values=np.pad(values, ((0, 0), (_PAD, _PAD))).astype(np.float64),
            count=max(1.0, float(slab.known[..., near].mean(axis=2).sum())),
            middle=(len(slab.heights) - 1) / 2 + _PAD,
        )

    def scores(self, forms: Floats) -> Floats:
        """Mean evidence of surfaces, ``forms`` (n, 6) in mm, less what their distance from the border costs; (n,)."""
        place = forms @ self.basis[self.members].T / HEIGHT_STEP_MM + self.middle
        np.clip(place, 0, self.values.shape[1] - 2, out=place)
        lower = place.astype(np.int32)
        share = place - lower
        index = lower + self.values.shape[1] * np.arange(len(self.values))
        values = self.values.reshape(-1)
        total = (values[index] * (1 - share) + values[index + 1] * share).sum(axis=1)
        return total / self.count - _PRIOR * ((forms / _USUAL_MM) ** 2).sum(axis=1)


def starts(columns: Columns) -> list[Floats]:
    """The best shifts and tilts, (6,) each with no bends, at least 5 mm apart; best first."""
    rows = np.arange(len(columns.values))[:, None]
    reach = int(columns.middle) - _PAD
    steps = np.arange(-reach, reach + 1)
    shifts = steps * HEIGHT_STEP_MM
    tilted = columns.basis[columns.members][:, 1:3] / HEIGHT_STEP_MM
    found: list[tuple[float, float, float, float]] = []
    for across in _TILTS_MM:
        for along in _TILTS_MM:
            place = np.rint(tilted @ (across, along) + columns.middle).astype(np.int32)[:, None] + steps
            np.clip(place, 0, columns.values.shape[1] - 1, out=place)
            cost = sum((way / usual) ** 2 for way, usual in zip((shifts, across, along), _USUAL_MM, strict=False))
            scores = columns.values[rows, place].sum(axis=0) / columns.count - _PRIOR * cost
            found += [(float(score), float(shift), across, along) for score, shift in zip(scores, shifts, strict=True)]
    chosen: list[Floats] = []
    for _, shift, across, along in sorted(found, key=lambda item: -item[0]):
        if all(abs(shift - other[0]) > _APART_MM for other in chosen):
            chosen.append(np.asarray([shift, across, along, 0, 0, 0]))
        if len(chosen) == _STARTS:
            break
    return chosen


def refined(columns: Columns, form: Floats) -> Floats:
    """A surface, (6,) in mm, that no step of a millimetre in any of its six ways makes better."""
    best = float(columns.scores(form[None])[0])
    for step in _STEPS_MM:
        for _ in range(_ROUNDS):
            before = best
            for way in np.eye(len(form)) * step:
                others = np.stack([form - way, form + way])
                scores = columns.scores(others)
                better = int(scores.argmax())
                if scores[better] > best:
                    form, best = others[better], float(scores[better])
            if best == before:
                break
    return form
