"""Everything that a label map amounts to, joined: volumes, scores, single opacities, periphery and key slices."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.anatomy.lobes import LOBE_LABELS, Lobes
from analysis.anatomy.lungs import LEFT, RIGHT, Lungs
from analysis.findings import KeySlice, Lobe, RegionFindings
from analysis.measure.lesions import choose_key_slices, find_clusters
from analysis.measure.periphery import Periphery, measure_periphery
from analysis.measure.regions import GGO, HIGH_OPACITY, tally
from analysis.measure.scores import total_score, why_no_scores
from analysis.series.volume import Volume

_Labels = npt.NDArray[np.uint8]
_NOTHING = RegionFindings(lung_volume_ml=0, ggo_volume_ml=0, high_opacity_volume_ml=0, high_density_volume_ml=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """What was measured, before it is joined with quality and provenance.

    ``lobes_in_part`` are those of ``lobes`` of which the series shows a part only; ``scores_absent_because`` says why
    ``lss`` and ``lhos`` are None.
    """

    both_lungs: RegionFindings
    right_lung: RegionFindings
    left_lung: RegionFindings
    lobes: Mapping[Lobe, RegionFindings]
    lobes_in_part: tuple[Lobe, ...]
    lss: int | None
    lhos: int | None
    scores_absent_because: tuple[str, ...]
    lesion_count: int
    largest_lesion_ml: float | None
    peripheral_lesion_percent: float | None
    peripheral_lung_percent: float | None
    key_slices: tuple[KeySlice, ...]


def measure(volume: Volume, lungs: Lungs, labels: _Labels, *, lobes: Lobes | None = None) -> Measurements:
    """Measure the opacities of ``labels`` (slice, row, column; 0, 1 GGO, 2 high opacity) inside the lungs.

    Labels outside the lungs count for nothing. Volumes are exact on unequal steps, as each slice has its own weight.
    Without ``lobes`` there are no lobes and no scores; no scores either unless all five are told and whole. Only the
    box of the lungs is looked at: time and memory grow with its voxels (about two bytes each beyond the arguments).
    """
    box = lungs.box
    reasons = why_no_scores(lobes)
    if box is None:
        return Measurements(
            both_lungs=_NOTHING,
            right_lung=_NOTHING,
            left_lung=_NOTHING,
            lobes={},
            lobes_in_part=(),
            lss=None,
            lhos=None,
            scores_absent_because=reasons,
            lesion_count=0,
            largest_lesion_ml=None,
            peripheral_lesion_percent=None,
            peripheral_lung_percent=None,
            key_slices=(),
        )
    sides, hu = lungs.labels[box], volume.hu[box]
    lesions = labels[box] * (sides > 0)
    weights = volume.voxel_volumes_ml()[box[0]]
    counted = tally(sides, None if lobes is None else lobes.labels[box], lesions, hu, weights)
    clusters = find_clusters(lesions, weights)
    periphery = _periphery(volume, sides, lesions, box[0])
    by_lobe: dict[Lobe, RegionFindings] = {}
    if lobes is not None:
        regions = ((lobe, counted.lobe(label)) for label, lobe in LOBE_LABELS.items())
        by_lobe = {lobe: region for lobe, region in regions if region.lung_volume_ml > 0}
    scored = {} if reasons else by_lobe
    return Measurements(
        both_lungs=counted.sides((RIGHT, LEFT)),
        right_lung=counted.sides((RIGHT,)),
        left_lung=counted.sides((LEFT,)),
        lobes=by_lobe,
        lobes_in_part=tuple(lobe for lobe in by_lobe if lobes is not None and lobe in lobes.cut),
        lss=total_score(scored, lambda region: region.burden_percent),
        lhos=total_score(scored, lambda region: region.pho_hu_percent),
        scores_absent_because=reasons,
        lesion_count=clusters.count,
        largest_lesion_ml=clusters.largest_ml or None,
        peripheral_lesion_percent=periphery.lesion_percent,
        peripheral_lung_percent=periphery.lung_percent,
        key_slices=choose_key_slices(
            volume, counted.pixels_of(GGO), counted.pixels_of(HIGH_OPACITY), first_slice=int(box[0].start)
        ),
    )


def _periphery(volume: Volume, sides: _Labels, lesions: _Labels, slices: slice) -> Periphery:
    return measure_periphery(
        sides,
        lesions,
        slice_positions_mm=volume.slice_positions_mm[slices],
        slice_weights_mm=volume.slice_weights_mm[slices],
        spacing_mm=(volume.row_spacing_mm, volume.column_spacing_mm),
        imaged_beyond=(slices.start > 0, slices.stop < len(volume.hu)),
    )
