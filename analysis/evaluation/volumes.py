"""Scores a model on scans with lungs and lesions labelled: covid20, the controls of lctsc, and simulated CTAC."""

from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.anatomy import segment_lungs
from analysis.evaluation.overlays import worst_slice
from analysis.evaluation.reading import LabelledScan
from analysis.evaluation.results import CaseResult, Picture
from analysis.evaluation.scoring import Mask, Overlap, overlap, percent
from analysis.evaluation.truth import aerated
from analysis.findings import Profile
from analysis.measure.burden import GGO, HIGH_OPACITY
from analysis.models import ModelSet

Labels = npt.NDArray[np.uint8]


def score_patient(
    name: str, scan: LabelledScan, models: ModelSet, *, profile: Profile = Profile.CHEST_CT, picture: bool = False
) -> CaseResult:
    """Score a scan whose lesions are labelled.

    ``lesion_dice`` is of both opacities together inside the true lung, as papers report it: lesion outside it counts
    for nothing. ``burden_percent`` and ``lesion_dice_own_lung`` are of the product's whole chain, our lungs included;
    ``burden_true_lung_percent`` is the model's alone. The model is asked twice, once for each lung mask.
    ``true_lesion_aerated_percent`` tells how widely the truth was outlined, and the figures that end in ``dense`` how
    the same masks agree once aerated voxels are left out of both.
    """
    volume = scan.volume
    own = segment_lungs(volume, models.lungs, valid=scan.known).mask
    chain = models.lesions.segment(volume.hu, own, slice_spacing_mm=volume.slice_spacing_mm, profile=profile)
    given = models.lesions.segment(volume.hu, scan.lung, slice_spacing_mm=volume.slice_spacing_mm, profile=profile)
    given = np.where(scan.lung, given, 0).astype(np.uint8)
    lesion, lung = overlap(given > 0, scan.lesion), overlap(own, scan.lung)
    figures: dict[str, Any] = {
        "slices": len(volume.hu),
        "lesion_dice": lesion.dice,
        "lesion_dice_own_lung": overlap(chain > 0, scan.lesion).dice,
        "lesion_sensitivity": lesion.sensitivity,
        "lung_dice": lung.dice,
        "lesion_in_lung_share": overlap(own, scan.lesion).sensitivity,
        "true_burden_percent": percent(lesion.true, lung.true),
        **_chain_figures(chain, lung.found),
        "burden_true_lung_percent": percent(lesion.found, lung.true),
        "lesion_voxels": lesion.found,
        "true_lesion_voxels": lesion.true,
        **_dense_figures(scan, lung, chain=chain > 0, given=given > 0),
    }
    figures["burden_error_percent"] = _difference(figures["burden_percent"], figures["true_burden_percent"])
    shown = None
    if picture:
        told = "-" if lesion.dice is None else f"{lesion.dice:.3f}"
        shown = Picture(
            png=worst_slice(volume, found=given > 0, true=scan.lesion, lung=own, true_lung=scan.lung),
            caption=f"{name}: Dice {told}, burden {_told(figures['burden_percent'])} "
            f"of a true {_told(figures['true_burden_percent'])}",
            badness=0.0 if lesion.dice is None else 1.0 - lesion.dice,
        )
    return CaseResult(case=name, figures=figures, picture=shown)


def score_control(
    name: str, scan: LabelledScan, models: ModelSet, *, profile: Profile = Profile.CHEST_CT, picture: bool = False
) -> CaseResult:
    """Score a scan without opacities by the product's whole chain: its burden is false, and its lungs are measured."""
    volume = scan.volume
    own = segment_lungs(volume, models.lungs, valid=scan.known).mask
    chain = models.lesions.segment(volume.hu, own, slice_spacing_mm=volume.slice_spacing_mm, profile=profile)
    lung = overlap(own, scan.lung)
    weights = volume.voxel_volumes_ml()
    figures: dict[str, Any] = {
        "slices": len(volume.hu),
        "lung_dice": lung.dice,
        "true_burden_percent": 0.0,
        **_chain_figures(chain, lung.found),
        "burden_in_true_lung_percent": percent(int(np.count_nonzero((chain > 0) & scan.lung)), lung.true),
        "lesion_volume_ml": float(np.count_nonzero(chain, axis=(1, 2)) @ weights),
        "lung_volume_ml": float(np.count_nonzero(own, axis=(1, 2)) @ weights),
        "true_lung_volume_ml": float(np.count_nonzero(scan.lung, axis=(1, 2)) @ weights),
    }
    figures["burden_error_percent"] = figures["burden_percent"]
    shown = None
    if picture:
        shown = Picture(
            png=worst_slice(volume, found=chain > 0, true=scan.lesion, lung=own, true_lung=scan.lung),
            caption=f"{name}: false burden {_told(figures['burden_percent'])}, lungs Dice {lung.dice or 0:.3f}",
            badness=float(figures["burden_percent"] or 0.0),
        )
    return CaseResult(case=name, figures=figures, picture=shown)


def _chain_figures(labels: Labels, lung_voxels: int) -> dict[str, float | None]:
    """Burden and its two parts as shares of the lung that the product found."""
    ggo, high = int(np.count_nonzero(labels == GGO)), int(np.count_nonzero(labels == HIGH_OPACITY))
    return {
        "burden_percent": percent(ggo + high, lung_voxels),
        "ggo_percent": percent(ggo, lung_voxels),
        "high_opacity_percent": percent(high, lung_voxels),
    }


def _dense_figures(scan: LabelledScan, lung: Overlap, *, chain: Mask, given: Mask) -> dict[str, float | None]:
    """How much of the truth is aerated, and Dice and burdens of what is not; none without other lung beside it."""
    left_out = aerated(scan.volume.hu, scan.lesion, scan.lung)
    if left_out is None:
        return {}
    wide = overlap(left_out, scan.lesion)
    dense = overlap(given & ~left_out, scan.lesion & ~left_out)
    return {
        "true_lesion_aerated_percent": percent(wide.both, wide.true),
        "lesion_dice_dense": dense.dice,
        "burden_dense_percent": percent(int(np.count_nonzero(chain & ~left_out)), lung.found),
        "true_burden_dense_percent": percent(dense.true, lung.true),
    }


def _difference(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _told(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} %"
