"""Where the lungs and their lobes are."""

from analysis.anatomy.fissures import Border
from analysis.anatomy.lobes import LOBE_LABELS, LobeModel, Lobes, estimate_lobes
from analysis.anatomy.lungs import LEFT, RIGHT, LungModel, Lungs, segment_lungs

__all__ = [
    "LEFT",
    "LOBE_LABELS",
    "RIGHT",
    "Border",
    "LobeModel",
    "Lobes",
    "LungModel",
    "Lungs",
    "estimate_lobes",
    "segment_lungs",
]
