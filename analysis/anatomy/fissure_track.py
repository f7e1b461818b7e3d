"""From a surface of few numbers to the sheet beside it: small smooth corrections, and how strong the evidence is."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from analysis.anatomy.border_surface import Floats
from analysis.anatomy.fissure_search import Columns, refined, starts
from analysis.anatomy.fissure_slab import HEIGHT_STEP_MM, Slab

LEAST_STRENGTH = 0.36
"""Strength from which a sheet counts as a fissure.

Of 80 surfaces laid through 8 real scans of 2 and 3 mm where no fissure runs, one had more (0.37) and half had 0.22;
none of them passes for a fissure.
"""

LEAST_LEAD = 1.6
"""By how many times it must be stronger than any sheet elsewhere; of those 80, one in twenty was by 1.48."""

LEAST_LEAD_IN_PART = 1.05
"""The same over sheets that share a strong part with it and run elsewhere over most of the lung."""

_OFFSETS_MM = np.arange(-5, 6) * 0.8
_AT = len(_OFFSETS_MM) // 2
_BLURS = ((2.0, 2.7), (1.2, 2.0), (0.8, 1.5))
"""In blocks of 6 mm: over how wide a place the sheet is sought, and how smooth the correction is."""
_DOUBT = 0.15
_COHERENCE = 1.5
_LEAST_SHARE = 0.6
_REFITS = 2
_ROBUST_MM, _ROBUST_ROUNDS = 3.0, 3
_ELSEWHERE_MM, _ELSEWHERE_SHARE, _MOST_SHARE = 5.0, 0.25, 0.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sheet:
    """A surface in a slab, (u, v): how far in mm above the border, the evidence on it, and where it is in the lung."""

    moved: Floats
    evidence: Floats
    known: npt.NDArray[np.bool_]
    strength: float


def fissure_in(slab: Slab) -> Sheet | None:
    """The sheet that is clearly a fissure; None where there is none, or another one is nearly as strong."""
    columns = Columns.of(slab)
    found = [_followed(slab, columns, refined(columns, form)) for form in starts(columns)]
    best = _refitted(slab, columns, max(found, key=lambda sheet: sheet.strength))
    lead = max(LEAST_STRENGTH, *(_rival(sheet, best, columns) for sheet in found))
    return best if best.strength >= lead else None


def _followed(slab: Slab, columns: Columns, form: Floats) -> Sheet:
    """The sheet beside a surface: wherever there is evidence above or below, the surface moves there smoothly."""
    moved = columns.basis @ form
    for blur, smoothness in _BLURS:
        near = np.maximum(gaussian_filter(_around(slab, moved)[0], (blur, blur, 0)), 0) ** 2
        mass = near.sum(axis=2)
        offset = (near * _OFFSETS_MM).sum(axis=2) / (mass + 1e-6)
        weight = np.sqrt(mass)
        total = gaussian_filter(weight, smoothness)
        moved = moved + gaussian_filter(offset * weight, smoothness) / (total + _DOUBT * total.mean() + 1e-6)
    values, known = _around(slab, moved)
    evidence = values[..., _AT]
    return Sheet(
        moved=moved,
        evidence=evidence,
        known=known[..., _AT],
        strength=_strength(evidence, known[..., _AT], columns.count),
    )


def _refitted(slab: Slab, columns: Columns, sheet: Sheet) -> Sheet:
    """Follow again from the surface that goes through the strong part of a sheet, as long as that finds more."""
    for _ in range(_REFITS):
        weight = np.where(sheet.known, np.maximum(gaussian_filter(sheet.evidence, _BLURS[-1][0]), 0) ** 2, 0)
        weight, moved = weight[columns.members], sheet.moved[columns.members]
        basis = columns.basis[columns.members]
        form = np.zeros(basis.shape[1])
        for _ in range(_ROBUST_ROUNDS):
            ridge = np.diag([0, 1e-3, 1e-3, 1e-2, 1e-2, 1e-2]) * weight.sum() + 1e-6 * np.eye(len(form))
            form = np.linalg.solve((basis.T * weight) @ basis + ridge, (basis.T * weight) @ moved)
            weight = weight / (1 + ((moved - basis @ form) / _ROBUST_MM) ** 2)
        again = _followed(slab, columns, refined(columns, form))
        if again.strength <= sheet.strength:
            break
        sheet = again
    return sheet


def _around(slab: Slab, moved: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Evidence at small distances above and below a surface, (u, v, offset), 0 where none is known; and where it is."""
    columns, count = moved.size, slab.evidence.shape[2]
    place = (moved.reshape(-1, 1) + _OFFSETS_MM) / HEIGHT_STEP_MM + (count - 1) / 2
    lower = np.clip(place.astype(np.int32), 0, count - 2)
    share = place - lower
    index = lower + count * np.arange(columns)[:, None]
    evidence, known = slab.evidence.reshape(-1), slab.known.reshape(-1)
    inside = (place >= 0) & (place <= count - 1) & known[index]
    values = np.where(inside, evidence[index] * (1 - share) + evidence[index + 1] * share, 0)
    return values.reshape(*moved.shape, -1), inside.reshape(*moved.shape, -1)


def _strength(evidence: Floats, where: npt.NDArray[np.bool_], count: float) -> float:
    """Root mean square over a surface of its evidence averaged over 2 cm: of a sheet it is alike all around."""
    share = gaussian_filter(where.astype(np.float64), _COHERENCE)
    smooth = gaussian_filter(np.where(where, evidence, 0), _COHERENCE) / np.maximum(share, 0.3)
    total = float((np.maximum(smooth[where], 0) ** 2).sum())
    return float(np.sqrt(total / max(float(np.count_nonzero(where)), _LEAST_SHARE * count)))


def _rival(sheet: Sheet, best: Sheet, columns: Columns) -> float:
    """Strength that the best sheet needs, so that this one is no rival; 0 where this is the best one again."""
    apart = (np.abs(sheet.moved - best.moved) > _ELSEWHERE_MM) & sheet.known
    share = np.count_nonzero(apart) / max(1, np.count_nonzero(sheet.known))
    if share <= _ELSEWHERE_SHARE:
        return 0.0
    elsewhere = LEAST_LEAD * _strength(sheet.evidence, apart, _ELSEWHERE_SHARE * columns.count)
    return max(elsewhere, LEAST_LEAD_IN_PART * sheet.strength if share > _MOST_SHARE else 0.0)
