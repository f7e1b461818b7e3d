"""What readers say about a flagged examination: whether it is there, what it looks like, how much, and why not."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Verdict(StrEnum):
    """Whether the opacities are there."""

    THERE = "there"
    NOT_THERE = "not there"
    UNSURE = "unsure"


class LooksLike(StrEnum):
    """What the opacities look like to the reader; nothing is chosen beforehand."""

    VIRAL = "viral or COVID-19 pneumonia"
    OTHER_PNEUMONIA = "other pneumonia"
    ATELECTASIS = "atelectasis"
    OEDEMA = "oedema"
    FIBROSIS = "fibrosis or scar"
    TUMOUR = "tumour"
    BREATH = "breath or motion"
    OTHER = "other"


class ReaderExtent(StrEnum):
    """The share of the lungs that the reader sees involved, in the classes of the lobe scores."""

    NONE = "0"
    UP_TO_25 = "1-25"
    UP_TO_50 = "25-50"
    UP_TO_75 = "50-75"
    OVER_75 = "over 75"


class DismissalReason(StrEnum):
    """Why nothing is to be done."""

    NOT_THERE = "not there"
    KNOWN = "known"
    EXPECTED = "expected"
    ARTEFACT = "artefact"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """A reader's verdict on the result that an alert stands for."""

    alert_id: int
    result_id: int
    who: str
    at: datetime
    verdict: Verdict
    looks_like: LooksLike | None
    extent: ReaderExtent | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictCount:
    """How often a verdict was given of the results of a model on a profile of a scanner; the last of each result."""

    profile: str
    model_name: str
    model_version: str
    calling_ae_title: str
    verdict: Verdict
    count: int


LEAST_VERDICTS = 20
"""Verdicts under which no share is told."""
_Z = 1.959964
"""The two-sided 95 % quantile of the normal distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictiveValue:
    """Of the flagged results that readers judged, how many they agreed with; ``unsure`` ones say neither.

    ``percent`` is the positive predictive value with its 95 % interval; None under ``LEAST_VERDICTS``.
    """

    there: int
    not_there: int
    unsure: int
    percent: tuple[float, float, float] | None

    @property
    def count(self) -> int:
        """Verdicts that say yes or no."""
        return self.there + self.not_there


def predictive_value(counts: Iterable[VerdictCount]) -> PredictiveValue:
    """The positive predictive value of what these counts are of."""
    sums = dict.fromkeys(Verdict, 0)
    for one in counts:
        sums[one.verdict] += one.count
    there, count = sums[Verdict.THERE], sums[Verdict.THERE] + sums[Verdict.NOT_THERE]
    return PredictiveValue(
        there=there,
        not_there=sums[Verdict.NOT_THERE],
        unsure=sums[Verdict.UNSURE],
        percent=wilson(there, count) if count >= LEAST_VERDICTS else None,
    )


def wilson(hits: int, count: int) -> tuple[float, float, float]:
    """The share in percent, and its 95 % interval (Wilson 1927, JASA 22:209)."""
    share = hits / count
    middle = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2)) / (1 + _Z**2 / count)
    return 100 * share, 100 * (middle - half), 100 * (middle + half)
