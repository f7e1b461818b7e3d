"""What a segment or a mask marks, by its code or by the words of its label."""

import re
from enum import StrEnum


class Region(StrEnum):
    """The regions that training takes."""

    LUNG = "lung"
    GROUND_GLASS = "ggo"
    HIGH_OPACITY = "high_opacity"
    LESION = "lesion"
    """Opacity of open class."""


_CODES = {
    ("SCT", "39607008"): Region.LUNG,
    ("SCT", "3341006"): Region.LUNG,  # right
    ("SCT", "44029006"): Region.LUNG,  # left
    ("SRT", "T-28000"): Region.LUNG,
    ("DCM", "112120"): Region.GROUND_GLASS,
    ("SCT", "95436008"): Region.HIGH_OPACITY,  # lung consolidation
    ("SCT", "60046008"): Region.HIGH_OPACITY,  # pleural effusion
    ("DCM", "112033"): Region.LESION,  # abnormal opacity
    ("SCT", "233604007"): Region.LESION,  # pneumonia
}
_WORDS = (
    (Region.GROUND_GLASS, re.compile(r"ground.?glass|\bggo")),
    (Region.HIGH_OPACITY, re.compile(r"high.?opacit|consolidation|effusion")),
    (Region.LESION, re.compile(r"lesion|infection|opacit|pneumonia|covid")),
    (Region.LUNG, re.compile(r"lung|lobe")),
)


def region_of_code(scheme: str, value: str) -> Region | None:
    """The region of a Segmented Property Type Code, by scheme designator and value (PS3.16)."""
    return _CODES.get((scheme, value))


def region_of_words(words: str) -> Region | None:
    """The region that a label or a file name speaks of; the more specific word decides ("lung lesion" is a lesion)."""
    spoken = words.lower().replace("_", " ")
    return next((region for region, pattern in _WORDS if pattern.search(spoken)), None)
