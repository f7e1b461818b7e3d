"""The colours of pictures and segments, in red, green and blue."""

from collections.abc import Mapping
from typing import Final

from analysis.findings import Lobe

Colour = tuple[int, int, int]

GGO_COLOUR: Final[Colour] = (86, 180, 233)
HIGH_OPACITY_COLOUR: Final[Colour] = (230, 159, 0)
"""Sky blue and orange (Okabe and Ito 2008): every kind of colour vision tells them apart, laid over grey too."""

LUNG_COLOUR: Final[Colour] = (150, 156, 160)
LOBE_COLOURS: Final[Mapping[Lobe, Colour]] = {
    Lobe.RIGHT_UPPER: (92, 161, 201),
    Lobe.RIGHT_MIDDLE: (112, 186, 142),
    Lobe.RIGHT_LOWER: (168, 129, 214),
    Lobe.LEFT_UPPER: (64, 176, 188),
    Lobe.LEFT_LOWER: (214, 118, 168),
}
