"""Volumes, shares and key slices of the opacities that a label map holds. Pure arithmetic on the native grid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cc3d
import numpy as np
import numpy.typing as npt

from analysis.anatomy.lobes import LOBE_LABELS, Lobes
from analysis.anatomy.lungs import LEFT, RIGHT, Lungs
from analysis.findings import KeySlice, Lobe, RegionFindings
from analysis.measure.scores import total_score
from analysis.series.volume import Volume

GGO, HIGH_OPACITY = 1, 2
"""Labels of ground-glass opacity and of high opacity (consolidation or pleural effusion)."""

HIGH_DENSITY_HU = -200
"""Lesion voxels above this are high opacity by the rule of Chaganti et al. 2020."""

MINIMUM_LESION_ML = 0.1
"""A connected opacity smaller than this is measured but not counted: it may be noise."""

KEY_SLICE_COUNT = 5
KEY_SLICE_APART_MM = 15.0

_Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """What was measured, before it is joined with quality and provenance."""

    both_lungs: RegionFindings
    right_lung: RegionFindings
    left_lung: RegionFindings
    lobes: Mapping[Lobe, RegionFindings]
    lss: int | None
    lhos: int | None
    lesion_count: int
    lesion_mean_hu: float | None
    lesion_sd_hu: float | None
    key_slices: tuple[KeySlice, ...]


def measure(volume: Volume, lungs: Lungs, labels: _Labels, *, lobes: Lobes | None = None) -> Measurements:
    """Measure the opacities of ``labels`` (slice, row, column; 0, 1 GGO, 2 high opacity) inside the lungs.

    Labels outside the lungs count for nothing. Volumes are exact on unequal steps, as each slice has its own weight.
    Without ``lobes`` there are no lobes and no scores; no scores either unless all five are told and whole. Only the
    box of the lungs is looked at: time and memory grow with its voxels (about one byte each beyond the arguments).
    """
    box = lungs.box
    if box is None:
        nothing = RegionFindings(lung_volume_ml=0, ggo_volume_ml=0, high_opacity_volume_ml=0, high_density_volume_ml=0)
        return Measurements(
            both_lungs=nothing,
            right_lung=nothing,
            left_lung=nothing,
            lobes={},
            lss=None,
            lhos=None,
            lesion_count=0,
            lesion_mean_hu=None,
            lesion_sd_hu=None,
            key_slices=(),
        )
    sides, hu = lungs.labels[box], volume.hu[box]
    lesions = np.where(sides > 0, labels[box], 0).astype(np.uint8)
    weights = volume.voxel_volumes_ml()[box[0]]
    regions = measure_regions(sides, lesions, hu, weights, (RIGHT, LEFT))
    by_lobe: dict[Lobe, RegionFindings] = {}
    if lobes is not None:
        parts = np.where(sides > 0, lobes.labels[box], 0).astype(np.uint8)
        measured = measure_regions(parts, lesions, hu, weights, tuple(LOBE_LABELS))
        by_lobe = {LOBE_LABELS[label]: region for label, region in measured.items() if region.lung_volume_ml > 0}
    scored = by_lobe if lobes is not None and lobes.scorable else {}
    mean, spread = _attenuation(lesions, hu, weights)
    return Measurements(
        both_lungs=_sum(tuple(regions.values())),
        right_lung=regions[RIGHT],
        left_lung=regions[LEFT],
        lobes=by_lobe,
        lss=total_score(scored, lambda region: region.burden_percent),
        lhos=total_score(scored, lambda region: region.pho_hu_percent),
        lesion_count=_count_lesions(lesions, weights),
        lesion_mean_hu=mean,
        lesion_sd_hu=spread,
        key_slices=choose_key_slices(volume, lesions, first_slice=int(box[0].start)),
    )


def measure_regions(
    regions: _Labels,
    lesions: _Labels,
    hu: npt.NDArray[np.int16],
    voxel_volumes_ml: npt.NDArray[np.float64],
    wanted: Sequence[int],
) -> dict[int, RegionFindings]:
    """Volumes per region label; arrays share one (slice, row, column), ``voxel_volumes_ml`` is (slice,).

    One pass: every voxel gets a code (region, class, dense or not), and the codes are counted slice by slice.
    """
    classes = 6
    volumes = np.zeros((max(wanted) + 1) * classes)
    for index, weight in enumerate(voxel_volumes_ml):
        inside = np.flatnonzero(regions[index])
        lesion = lesions[index].reshape(-1)[inside]
        dense = hu[index].reshape(-1)[inside] > HIGH_DENSITY_HU
        codes = regions[index].reshape(-1)[inside].astype(np.int32) * classes + lesion * 2 + dense
        volumes += weight * np.bincount(codes, minlength=volumes.size)[: volumes.size]
    table = volumes.reshape(-1, classes)
    return {
        label: RegionFindings(
            lung_volume_ml=float(table[label].sum()),
            ggo_volume_ml=float(table[label, 2:4].sum()),
            high_opacity_volume_ml=float(table[label, 4:6].sum()),
            high_density_volume_ml=float(table[label, 3] + table[label, 5]),
        )
        for label in wanted
    }


def choose_key_slices(volume: Volume, lesions: _Labels, *, first_slice: int = 0) -> tuple[KeySlice, ...]:
    """Choose the slices with most opacity, at least 15 mm apart, most first; none where there is no opacity.

    ``lesions`` (slice, row, column) starts at ``first_slice`` of the volume.
    """
    pixel_mm2 = volume.row_spacing_mm * volume.column_spacing_mm
    ggo = (lesions == GGO).sum(axis=(1, 2)) * pixel_mm2
    high = (lesions == HIGH_OPACITY).sum(axis=(1, 2)) * pixel_mm2
    positions = volume.slice_positions_mm[first_slice : first_slice + len(lesions)]
    chosen: list[int] = []
    for index in np.argsort(-(ggo + high), kind="stable"):
        if ggo[index] + high[index] == 0 or len(chosen) == KEY_SLICE_COUNT:
            break
        if all(abs(positions[index] - positions[other]) >= KEY_SLICE_APART_MM for other in chosen):
            chosen.append(int(index))
    return tuple(
        KeySlice(
            sop_instance_uid=volume.sop_instance_uids[first_slice + index],
            frame_number=volume.frame_numbers[first_slice + index],
            slice_index=first_slice + index,
            position_mm=float(positions[index]),
            ggo_area_mm2=float(ggo[index]),
            high_opacity_area_mm2=float(high[index]),
        )
        for index in chosen
    )


def _sum(regions: Sequence[RegionFindings]) -> RegionFindings:
    return RegionFindings(
        lung_volume_ml=sum(region.lung_volume_ml for region in regions),
        ggo_volume_ml=sum(region.ggo_volume_ml for region in regions),
        high_opacity_volume_ml=sum(region.high_opacity_volume_ml for region in regions),
        high_density_volume_ml=sum(region.high_density_volume_ml for region in regions),
    )


def _attenuation(
    lesions: _Labels, hu: npt.NDArray[np.int16], weights: npt.NDArray[np.float64]
) -> tuple[float | None, float | None]:
    """Mean and standard deviation of the lesions in HU, each voxel by its volume; None without lesions."""
    slices = np.nonzero(lesions)[0]
    if not slices.size:
        return None, None
    values, shares = hu[lesions > 0].astype(np.float64), weights[slices]
    mean = float(np.average(values, weights=shares))
    return mean, float(np.sqrt(np.average((values - mean) ** 2, weights=shares)))


def _count_lesions(lesions: _Labels, weights: npt.NDArray[np.float64]) -> int:
    """Count the opacities that hang together (26 neighbours, classes alike) and reach 0.1 mL."""
    if not lesions.any():
        return 0
    components = cc3d.connected_components((lesions > 0).astype(np.uint8), connectivity=26)
    slices, rows, columns = np.nonzero(components)
    volumes = np.bincount(components[slices, rows, columns], weights=weights[slices])
    return int(np.count_nonzero(volumes[1:] >= MINIMUM_LESION_ML))
