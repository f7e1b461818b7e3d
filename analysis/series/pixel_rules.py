"""The rules that look at pixels: the values are Hounsfield units, and there is lung among them."""

import numpy as np
import numpy.typing as npt

from analysis.series.verdicts import Rule, RuleResult, judged
from analysis.series.volume import Volume

_SAMPLED_VOXELS = 2_000_000
_AIR_HU = (-1050, -900)
_SOFT_TISSUE_HU = (-150, 200)
_TISSUE_FROM_HU = -300
_TISSUE_PEAK_HU = (-120, 100)
_MINIMUM_AIR_SHARE = 0.005
_MINIMUM_SOFT_SHARE = 0.4
MINIMUM_LUNG_ML = 250.0
_BRIGHT_HU = 3100
"""Above what a scale of 12 bits holds."""
_PADDING_SHARE = 0.02
_LUNG_MEDIAN_HU = (-965.0, -300.0)
_MINIMUM_LUNG_EXTENT_MM = 40.0


def check_stored_values(volume: Volume) -> RuleResult:
    """No stored value needs more bits than Bits Stored, but for padding and old overlays."""
    expected = "values within Bits Stored, but for Pixel Padding Value and overlay planes"
    beyond = volume.value_beyond_bits
    value = "within Bits Stored" if beyond is None else f"{beyond}, which needs more bits than Bits Stored says"
    return judged(Rule.STORED_VALUES, value, expected, passed=beyond is None)


def check_hounsfield_scale(volume: Volume) -> RuleResult:
    """Air lies near -1000 HU and soft tissue near 0 HU; in a map of attenuation coefficients they do not.

    The criterion that fails is named with its value. Time grows with at most two million sampled voxels.
    """
    sample = _sample(volume.hu)
    air = _share(sample, *_AIR_HU) + float(np.mean(sample < _AIR_HU[0]))
    tissue = sample[sample > _TISSUE_FROM_HU]
    soft = _share(tissue, *_SOFT_TISSUE_HU) if tissue.size else 0.0
    peak = _peak(tissue)
    expected = (
        f"at least {100 * _MINIMUM_AIR_SHARE:g} % air near -1000 HU; of the voxels above {_TISSUE_FROM_HU} HU "
        f"{100 * _MINIMUM_SOFT_SHARE:g} % between {_SOFT_TISSUE_HU[0]} and {_SOFT_TISSUE_HU[1]} HU, with their peak "
        f"between {_TISSUE_PEAK_HU[0]} and {_TISSUE_PEAK_HU[1]} HU"
    )
    wrong: list[str] = []
    if air < _MINIMUM_AIR_SHARE:
        wrong.append(f"{100 * air:.1f} % air near -1000 HU")
    if not tissue.size:
        wrong.append(f"nothing above {_TISSUE_FROM_HU} HU")
    elif not _TISSUE_PEAK_HU[0] <= peak <= _TISSUE_PEAK_HU[1]:
        wrong.append(f"soft tissue peak at {peak:.0f} HU")
    if tissue.size and soft < _MINIMUM_SOFT_SHARE:
        bright = float(np.mean(tissue > _BRIGHT_HU))
        wrong.append(
            f"{100 * soft:.0f} % of what is denser than {_TISSUE_FROM_HU} HU is soft tissue"
            + (f", {100 * bright:.0f} % lies above {_BRIGHT_HU} HU, as padding does" if bright > _PADDING_SHARE else "")
        )
    value = "; ".join(wrong) or f"{100 * air:.1f} % air near -1000 HU, soft tissue peak at {peak:.0f} HU"
    return judged(Rule.HOUNSFIELD_SCALE, value, expected, passed=not wrong)


def check_lung_present(volume: Volume, mask: npt.NDArray[np.bool_]) -> RuleResult:
    """There is lung, which ``mask`` (slice, row, column) marks: enough, long enough, and neither bare gas nor solid."""
    voxels = mask.sum(axis=(1, 2))
    millilitres = float(voxels @ volume.voxel_volumes_ml())
    occupied = np.flatnonzero(voxels)
    extent = float(volume.slice_weights_mm[occupied[0] : occupied[-1] + 1].sum()) if occupied.size else 0.0
    median = float(np.median(_sample(volume.hu[mask]))) if occupied.size else 0.0
    seen = f"{millilitres:.0f} mL over {extent:.0f} mm, median {median:.0f} HU"
    low, high = _LUNG_MEDIAN_HU
    expected = (
        f"at least {MINIMUM_LUNG_ML:g} mL of lung over {_MINIMUM_LUNG_EXTENT_MM:g} mm, "
        f"median between {low:g} and {high:g} HU"
    )
    if not occupied.size:
        return judged(Rule.LUNG_PRESENT, "no lung", expected, passed=False)
    if millilitres < MINIMUM_LUNG_ML or extent < _MINIMUM_LUNG_EXTENT_MM:
        return judged(Rule.LUNG_PRESENT, f"too little lung: {seen}", expected, passed=False)
    if not low <= median <= high:
        kind = "as thin as gas" if median < low else "as dense as tissue"
        return judged(Rule.LUNG_PRESENT, f"what looks like lung is {kind}: {seen}", expected, passed=False)
    return judged(Rule.LUNG_PRESENT, seen, expected, passed=True)


def _sample(values: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    flat = values.reshape(-1)
    return flat[:: max(1, flat.size // _SAMPLED_VOXELS)]


def _share(values: npt.NDArray[np.int16], low: float, high: float) -> float:
    return float(np.mean((values >= low) & (values <= high))) if values.size else 0.0


def _peak(values: npt.NDArray[np.int16]) -> float:
    """Middle of the fullest 20 HU bin between -300 and 1000 HU."""
    if not values.size:
        return 0.0
    counts, edges = np.histogram(values, bins=65, range=(-300, 1000))
    index = int(np.argmax(counts))
    return float((edges[index] + edges[index + 1]) / 2)
