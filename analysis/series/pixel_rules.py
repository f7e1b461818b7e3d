"""The rules that look at pixels: the values are Hounsfield units, and there is lung among them."""

import numpy as np
import numpy.typing as npt

from analysis.series.verdicts import Outcome, Rule, RuleResult
from analysis.series.volume import Volume

_SAMPLED_VOXELS = 2_000_000
_AIR_HU = (-1050, -900)
_SOFT_TISSUE_HU = (-150, 200)
_TISSUE_FROM_HU = -300
_TISSUE_PEAK_HU = (-120, 100)
_MINIMUM_AIR_SHARE = 0.005
_MINIMUM_SOFT_SHARE = 0.4
_MINIMUM_LUNG_ML = 250.0
_LUNG_MEDIAN_HU = (-965.0, -300.0)
_MINIMUM_LUNG_EXTENT_MM = 40.0


def check_hounsfield_scale(volume: Volume) -> RuleResult:
    """Air lies near -1000 HU and soft tissue near 0 HU; in a map of attenuation coefficients they do not.

    Time grows with at most two million sampled voxels.
    """
    sample = _sample(volume.hu)
    air = _share(sample, *_AIR_HU) + float(np.mean(sample < _AIR_HU[0]))
    tissue = sample[sample > _TISSUE_FROM_HU]
    soft = _share(tissue, *_SOFT_TISSUE_HU) if tissue.size else 0.0
    peak = _peak(tissue)
    value = f"{100 * air:.1f} % air near -1000 HU, soft tissue peak at {peak:.0f} HU" if tissue.size else "no tissue"
    expected = "air near -1000 HU and a soft tissue peak between -120 and 100 HU"
    passed = (
        air >= _MINIMUM_AIR_SHARE and soft >= _MINIMUM_SOFT_SHARE and _TISSUE_PEAK_HU[0] <= peak <= _TISSUE_PEAK_HU[1]
    )
    return RuleResult(
        rule=Rule.HOUNSFIELD_SCALE,
        value=value,
        expected=expected,
        outcome=Outcome.PASSED if passed else Outcome.EXCLUDED,
    )


def check_lung_present(volume: Volume, mask: npt.NDArray[np.bool_]) -> RuleResult:
    """There is lung, which ``mask`` (slice, row, column) marks: enough, long enough, and neither bare gas nor solid."""
    voxels = mask.sum(axis=(1, 2))
    millilitres = float(voxels @ volume.voxel_volumes_ml())
    occupied = np.flatnonzero(voxels)
    extent = float(volume.slice_weights_mm[occupied[0] : occupied[-1] + 1].sum()) if occupied.size else 0.0
    median = float(np.median(_sample(volume.hu[mask]))) if occupied.size else 0.0
    value = f"{millilitres:.0f} mL over {extent:.0f} mm" + (f", median {median:.0f} HU" if occupied.size else "")
    passed = (
        millilitres >= _MINIMUM_LUNG_ML
        and extent >= _MINIMUM_LUNG_EXTENT_MM
        and _LUNG_MEDIAN_HU[0] <= median <= _LUNG_MEDIAN_HU[1]
    )
    return RuleResult(
        rule=Rule.LUNG_PRESENT,
        value=value if occupied.size else "no lung",
        expected=f"at least {_MINIMUM_LUNG_ML:g} mL of lung over {_MINIMUM_LUNG_EXTENT_MM:g} mm",
        outcome=Outcome.PASSED if passed else Outcome.EXCLUDED,
    )


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
