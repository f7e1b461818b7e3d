"""How far a measurement can be relied upon, in a word, in figures, and in reasons a reader understands."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from analysis.anatomy.lobes import Lobes
from analysis.anatomy.lungs import LEFT, RIGHT, Lungs
from analysis.findings import Lobe, Profile, Quality, QualityLevel
from analysis.series.verdicts import Outcome, Screening
from analysis.series.volume import Volume


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityLimits:
    """From where on images count as limited, or as not analysable."""

    limited_noise_hu: float = 45.0
    unusable_noise_hu: float = 150.0
    limited_coverage_percent: float = 95.0
    unusable_coverage_percent: float = 20.0
    limited_slice_step_mm: float = 5.5
    expiratory_lung_median_hu: float = -700.0
    cut_area_share: float = 0.15


QUALITY_LIMITS = QualityLimits()

_WHOLE_LUNG_HEIGHT_MM = 180.0
"""Height of the lungs below which, once they are cut off, the missing part is estimated against this usual height."""
_TISSUE_HU = (0.0, 100.0)
_NOISE_SCALE = float(np.sqrt(36.0)) / 0.6745
"""Immerkaer's kernel has a sum of squares of 36; the median of absolute values of a normal variable is 0.6745 sigma."""
_NOISE_SLICES = 24
_MINIMUM_TISSUE_VOXELS = 200
_NOTED_RULES = {
    "slice contact": "The slices do not touch; lesions between them go unseen.",
    "slice step": "The slices are unequally spaced.",
    "gantry tilt": "The gantry was tilted.",
    "field of view": "The field of view is small; the lungs may be cut off at the sides.",
}

_LOBE_NAMES = {
    Lobe.RIGHT_UPPER: "right upper",
    Lobe.RIGHT_MIDDLE: "right middle",
    Lobe.RIGHT_LOWER: "right lower",
    Lobe.LEFT_UPPER: "left upper",
    Lobe.LEFT_LOWER: "left lower",
}


def assess_quality(
    volume: Volume,
    lungs: Lungs,
    profile: Profile,
    screening: Screening,
    *,
    lobes: Lobes | None = None,
    limits: QualityLimits = QUALITY_LIMITS,
) -> Quality:
    """Judge coverage of the lungs, noise, spacing, breath and profile; a reason for everything short of diagnostic.

    A CTAC is limited by its nature: not an inspiration scan, and noisy. Time grows with 24 slices for the noise and
    with one sample of the lung voxels.
    """
    noise = measure_noise_hu(volume)
    coverage, cuts = estimate_coverage_percent(volume, lungs, limits)
    reasons = list(cuts)
    unusable = False
    if coverage is None or coverage < limits.unusable_coverage_percent:
        reasons.append("Too little of the lungs is imaged.")
        unusable = True
    reasons += [
        reason
        for result in screening.results
        if result.outcome is Outcome.NOTED and (reason := _NOTED_RULES.get(result.rule))
    ]
    if volume.slice_spacing_mm > limits.limited_slice_step_mm:
        reasons.append(f"The slices are {volume.slice_spacing_mm:.1f} mm apart.")
    if noise is not None and noise > limits.limited_noise_hu:
        reasons.append(f"The images are noisy ({noise:.0f} HU in soft tissue).")
        unusable = unusable or noise > limits.unusable_noise_hu
    median = _lung_median_hu(volume, lungs)
    if median is not None and median > limits.expiratory_lung_median_hu:
        reasons.append(f"The lungs are dense (median {median:.0f} HU): expiration, or widespread disease.")
    if profile is Profile.CTAC:
        reasons.append(
            "A CT for attenuation correction: shallow breathing and low dose can mimic ground-glass opacity."
        )
    reasons += _lobe_reasons(lobes)
    level = QualityLevel.NOT_ANALYSABLE if unusable else QualityLevel.LIMITED if reasons else QualityLevel.DIAGNOSTIC
    return Quality(level=level, reasons=tuple(reasons), lung_coverage_percent=coverage, noise_hu=noise)


def _lobe_reasons(lobes: Lobes | None) -> list[str]:
    """Say which lobes cannot be told, or are there in part, so that there are no scores."""
    if lobes is None:
        return []
    reasons: list[str] = []
    for members, fate in ((lobes.untold, "cannot be told"), (lobes.cut, "is imaged in part")):
        reasons += [f"The {_LOBE_NAMES[lobe]} lobe {fate}; no severity scores." for lobe in Lobe if lobe in members]
    return reasons


def measure_noise_hu(volume: Volume) -> float | None:
    """Noise in soft tissue, in HU: the spread of what a Laplacian leaves (Immerkaer 1996); None without soft tissue.

    Edges hardly matter, as the median is taken, in voxels that are soft tissue after smoothing.
    """
    kernel = np.asarray([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    found: list[npt.NDArray[np.float32]] = []
    for index in np.unique(np.linspace(0, len(volume.hu) - 1, _NOISE_SLICES).astype(int)):
        pixels = volume.hu[index].astype(np.float32)
        smooth = cv2.blur(pixels, (7, 7))
        tissue = ((smooth > _TISSUE_HU[0]) & (smooth < _TISSUE_HU[1])).astype(np.uint8)
        tissue = cv2.erode(tissue, np.ones((5, 5), np.uint8))
        found.append(np.abs(cv2.filter2D(pixels, -1, kernel))[tissue > 0])
    residue = np.concatenate(found)
    if residue.size < _MINIMUM_TISSUE_VOXELS:
        return None
    return float(np.median(residue) / 6.0 / 0.6745)


def estimate_coverage_percent(
    volume: Volume, lungs: Lungs, limits: QualityLimits = QUALITY_LIMITS
) -> tuple[float | None, tuple[str, ...]]:
    """Estimate which share of the lungs' height was imaged, and say where they are cut off; None without lungs.

    Lungs end where their area fades. Where the first or last slice still holds a good part (15 %) of a lung's largest
    area, that lung goes on outside. How far can only be guessed: what is missing of a usual height of 180 mm.
    """
    reasons: list[str] = []
    heights: list[float] = []
    cut = False
    for label, name in ((RIGHT, "right"), (LEFT, "left")):
        area = (lungs.labels == label).sum(axis=(1, 2))
        if not area.any():
            continue
        occupied = area > limits.cut_area_share * area.max() / 10
        heights.append(float(volume.slice_weights_mm[occupied].sum()))
        for index, end in ((0, "below"), (-1, "above")):
            if area[index] > limits.cut_area_share * area.max():
                reasons.append(f"The {name} lung is cut off {end}.")
                cut = True
    if not heights:
        return None, ()
    if not cut:
        return 100.0, ()
    return min(99.0, 100.0 * max(heights) / max(_WHOLE_LUNG_HEIGHT_MM, max(heights) / 0.9)), tuple(reasons)


def _lung_median_hu(volume: Volume, lungs: Lungs) -> float | None:
    values = volume.hu[::4, ::2, ::2][lungs.labels[::4, ::2, ::2] > 0]
    return float(np.median(values)) if values.size else None
