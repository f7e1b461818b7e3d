"""What was not found of a lung, taken in where it belongs, if soft tissue lies there."""

from dataclasses import replace

import numpy as np

from analysis.anatomy import LEFT, RIGHT, Lungs
from analysis.anatomy.hidden_lung import PlaceModel, find_hidden_lung
from analysis.measure.coverage import measure_coverage
from analysis.series.volume import Volume

_SIDES = {"right": RIGHT, "left": LEFT}


def with_hidden_lung(volume: Volume, lungs: Lungs, model: PlaceModel) -> Lungs:
    """The lungs with ``hidden`` lung, where one was not found as a whole beside the other; else the lungs themselves.

    Nothing tells the place of a lung where both lack a part, or where the series cuts the other one off.
    """
    coverage = measure_coverage(volume, lungs)
    if coverage is None or coverage.ends or len(coverage.lacking) != 1:
        return lungs
    side = _SIDES[next(iter(coverage.lacking))]
    hidden = find_hidden_lung(volume, lungs, side, model)
    if not hidden.any():
        return lungs
    labels = np.where(hidden, np.uint8(side), lungs.labels)
    return replace(lungs, labels=labels, hidden=hidden)
