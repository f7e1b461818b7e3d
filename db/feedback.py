"""What readers say about a flagged examination: whether it is there, what it looks like, how much, and why not."""

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
    model_version: str
    calling_ae_title: str
    verdict: Verdict
    count: int
