"""Scores the estimate of the lobes on label maps without grey values, the true left and right lung given."""

from typing import Any

import numpy as np

from analysis.anatomy import LEFT, LOBE_LABELS, RIGHT, LobeModel, Lungs, estimate_lobes
from analysis.evaluation.overlays import coronal_lobes
from analysis.evaluation.reading import LabelledLobes, plain_volume
from analysis.evaluation.results import CaseResult, Picture
from analysis.evaluation.scoring import overlap

LOBES_ASSUMPTION = (
    "lobes has no grey values: the lungs are shown as even lung density in even soft tissue, so that no fissure can be "
    "seen and the estimate rests on the shape of the true left and right lung alone."
)

_LEFT_UPPER = 7
_LUNG_HU, _TISSUE_HU = -850, 40


def score_lobes(name: str, truth: LabelledLobes, model: LobeModel, *, picture: bool = False) -> CaseResult:
    """Dice of each lobe and ``lobe_dice``, their mean; a lobe that the truth does not hold is left out."""
    sides = np.where(truth.lobes >= _LEFT_UPPER, LEFT, RIGHT).astype(np.uint8) * (truth.lobes > 0)
    hu = np.where(truth.lobes > 0, _LUNG_HU, _TISSUE_HU).astype(np.int16)
    found = estimate_lobes(plain_volume(hu, truth.spacing_mm), Lungs(labels=sides), model)
    dice = {
        lobe.value: overlap(found.labels == label, truth.lobes == label).dice if (truth.lobes == label).any() else None
        for label, lobe in LOBE_LABELS.items()
    }
    told = [value for value in dice.values() if value is not None]
    mean = float(np.mean(told)) if told else None
    figures: dict[str, Any] = {
        "lobe_dice": mean,
        **{f"{lobe}_dice": value for lobe, value in dice.items()},
        "lobes_untold": sorted(lobe.value for lobe in found.untold),
    }
    shown = None
    if picture:
        by_lobe = ", ".join(f"{lobe} {value:.2f}" for lobe, value in dice.items() if value is not None)
        shown = Picture(
            png=coronal_lobes(found.labels, truth.lobes, truth.spacing_mm),
            caption=f"{name}: {by_lobe}",
            badness=1.0 - (mean or 0.0),
        )
    return CaseResult(case=name, figures=figures, picture=shown)
