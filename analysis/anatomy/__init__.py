"""Where the lungs and their lobes are."""

from analysis.anatomy.fissures import Border
from analysis.anatomy.hidden_lung import PlaceModel, find_hidden_lung
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
    "PlaceModel",
    "estimate_lobes",
    "find_hidden_lung",
    "segment_lungs",
]
