"""Scores a model on single slices with both classes labelled: medseg."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.evaluation.overlays import picture_slice
from analysis.evaluation.reading import LabelledPicture
from analysis.evaluation.results import CaseResult, Picture
from analysis.evaluation.scoring import Overlap, overlap
from analysis.measure.burden import GGO, HIGH_OPACITY
from analysis.models import LesionModel

_CLASSES = {"ggo": GGO, "high_opacity": HIGH_OPACITY}
_SINGLE_SLICE_MM = 5.0  # of no effect: the slice is its own neighbour


def score_slice(name: str, truth: LabelledPicture, model: LesionModel, *, picture: bool = False) -> CaseResult:
    """Dice of each class in one slice; None where the truth does not hold the class, as the published means have it.

    The counts (in both, found, true) are what :func:`pooled_dice` adds up.
    """
    found = _alone(model, truth.hu)
    pairs = {"lesion": overlap(found > 0, truth.label > 0)}
    pairs |= {key: overlap(found == label, truth.label == label) for key, label in _CLASSES.items()}
    figures: dict[str, Any] = {f"{key}_dice": pair.dice if pair.true else None for key, pair in pairs.items()}
    figures |= {f"{key}_counts": [pair.both, pair.found, pair.true] for key, pair in pairs.items()}
    figures |= {"lesion_voxels": pairs["lesion"].found, "true_lesion_voxels": pairs["lesion"].true}
    shown = None
    if picture:
        dice = pairs["lesion"].dice or 0.0
        told = ", ".join(f"{key.replace('_', ' ')} {_told(figures[f'{key}_dice'])}" for key in pairs)
        shown = Picture(png=picture_slice(truth.hu, found, truth.label), caption=f"{name}: {told}", badness=1.0 - dice)
    return CaseResult(case=name, figures=figures, picture=shown)


OPACITY_OF_EACH = "opacity_percent_of_each"
"""Key of the area of opacity of each image of a block, in percent of the image."""


def score_block(name: str, images: Iterable[npt.NDArray[np.int16]], model: LesionModel) -> CaseResult:
    """The area of opacity in each image of a block, in percent of the image; one label, which the name begins with."""
    areas = [100 * float((_alone(model, hu) > 0).mean()) for hu in images]
    figures: dict[str, Any] = {
        "covid": name.startswith("covid"),
        "images": len(areas),
        "opacity_percent": float(np.mean(areas)),
        OPACITY_OF_EACH: areas,
    }
    return CaseResult(case=name, figures=figures)


def pooled_dice(results: Sequence[CaseResult]) -> dict[str, float | None]:
    """Dice of each class over the pixels of all slices together."""
    pooled: dict[str, float | None] = {}
    for key in ("lesion", *_CLASSES):
        total = Overlap(both=0, found=0, true=0)
        for result in results:
            both, found, true = result.figures[f"{key}_counts"]
            total += Overlap(both=both, found=found, true=true)
        pooled[f"{key}_dice"] = total.dice
    return pooled


def _alone(model: LesionModel, hu: npt.NDArray[np.int16]) -> npt.NDArray[np.uint8]:
    """Labels of a picture (row, column), which those who made it cropped to the lungs; training shows them whole."""
    shape = (1, *hu.shape)
    return model.segment(hu[None], np.ones(shape, bool), slice_spacing_mm=_SINGLE_SLICE_MM, margin_percent=0)[0]


def _told(dice: float | None) -> str:
    return "-" if dice is None else f"{dice:.2f}"
