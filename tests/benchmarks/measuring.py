"""How long measuring takes after inference: volumes, opacities, periphery, scores and quality, on 128 x 512 x 512.

The volume is the phantom with opacities brought to that grid, with its true lungs and opacities as labels: what finds
them is timed elsewhere. Two threads, as on the smallest machine a node runs on.
"""

import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np

from analysis.anatomy import LOBE_LABELS, Lobes, Lungs
from analysis.findings import Profile
from analysis.measure import assess_quality, measure
from analysis.series import NativeGrid, Screening, Volume
from dicom_node.simulator import PhantomSpec, build_phantom

_SLICES, _MATRIX = 128, 512
_REPEATS = 5
_THREADS = 2
_FLOOR_S, _AIM_S = 1.5, 0.5


def main() -> None:
    """Build, measure, print the median of each part and of the whole."""
    cv2.setNumThreads(_THREADS)
    volume, lungs, labels, lobes = case()
    screening = Screening(results=(), profile=Profile.CHEST_CT)
    parts: dict[str, Callable[[], object]] = {
        "measures": lambda: measure(volume, lungs, labels, lobes=lobes),
        "quality": lambda: assess_quality(volume, lungs, Profile.CHEST_CT, screening, lesions=labels),
    }
    burden = measure(volume, lungs, labels, lobes=lobes).both_lungs.burden_percent
    print(
        f"{volume.hu.shape[0]} x {_MATRIX} x {_MATRIX}, burden {burden:.1f} %, {_REPEATS} repeats, {_THREADS} threads"
    )
    total = 0.0
    for name, part in parts.items():
        seconds = statistics.median(_timed(part) for _ in range(_REPEATS))
        total += seconds
        print(f"{name}: {seconds:.3f} s")
    print(f"measuring, median: {total:.3f} s (floor {_FLOOR_S} s, aim {_AIM_S} s)")


def _timed(part: Callable[[], object]) -> float:
    started = time.perf_counter()
    part()
    return time.perf_counter() - started


def case(slices: int = _SLICES) -> tuple[Volume, Lungs, np.ndarray, Lobes]:
    """The volume, its lungs, its opacities (1 ground glass, 2 high) and its lobes."""
    phantom = build_phantom(PhantomSpec.opacities())
    chosen = np.linspace(0, len(phantom.hu) - 1, slices).round().astype(int)
    hu = _enlarged(phantom.hu, chosen, cv2.INTER_LINEAR).astype(np.int16)
    sides, labels = (
        _enlarged(one, chosen, cv2.INTER_NEAREST).astype(np.uint8) for one in (phantom.lungs, phantom.lesions)
    )
    pixel_mm = phantom.pixel_spacing_mm * phantom.hu.shape[1] / _MATRIX
    step_mm = phantom.slice_spacing_mm * len(phantom.hu) / slices
    volume = Volume(
        hu=hu,
        slice_positions_mm=np.arange(slices, dtype=np.float64) * step_mm,
        slice_weights_mm=np.full(slices, step_mm),
        row_spacing_mm=pixel_mm,
        column_spacing_mm=pixel_mm,
        sop_instance_uids=tuple(f"1.2.3.{index + 1}" for index in range(slices)),
        frame_numbers=(None,) * slices,
        native=NativeGrid(transposed=False, rows_flipped=False, columns_flipped=False),
    )
    upper = np.arange(slices)[:, None, None] > slices // 2
    thirds = np.where(upper, 4, np.where(np.arange(_MATRIX)[None, :, None] < _MATRIX // 2, 5, 6))
    parts = np.where(sides == 1, thirds, np.where(sides == 2, np.where(upper, 7, 8), 0)).astype(np.uint8)
    told = dict.fromkeys(LOBE_LABELS.values(), 90.0)
    lobes = Lobes(labels=parts, confidence_percent=told, cut=frozenset(), untold=frozenset())
    return volume, Lungs(labels=sides), labels, lobes


def _enlarged(stack: np.ndarray, chosen: np.ndarray, interpolation: int) -> np.ndarray:
    return np.stack([cv2.resize(stack[index], (_MATRIX, _MATRIX), interpolation=interpolation) for index in chosen])
