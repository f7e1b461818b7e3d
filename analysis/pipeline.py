"""The whole story: a series of files in, findings or a reasoned exclusion out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.anatomy.lungs import Lungs
from analysis.findings import Findings
from analysis.model import Segmenter
from analysis.series.series import Series
from analysis.series.verdicts import Screening
from analysis.series.volume import Volume


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AnalysedSeries:
    """What an analysis found, and what the report, the segmentation and the pictures are made of.

    ``labels`` is uint8 (slice, row, column) on the canonical axes of ``volume``: 0 background, 1 GGO, 2 high opacity.
    ``seconds`` tells how long each step took.
    """

    findings: Findings
    screening: Screening
    volume: Volume
    lungs: Lungs
    labels: npt.NDArray[np.uint8]
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExcludedSeries:
    """A series that is not analysed; ``screening.reason`` says why."""

    screening: Screening
    seconds: Mapping[str, float]


def analyse(
    series: Series, *, segmenter: Segmenter, progress: Callable[[str], None] | None = None
) -> AnalysedSeries | ExcludedSeries:
    """Stub."""
    raise NotImplementedError
