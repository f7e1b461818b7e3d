"""Convolution kernels by the names that their makers give them: how sharp they render."""

import re
from enum import IntEnum

_SIEMENS_SHARP_FROM = 50
_CANON_SHARP_FROM = 30
_GE_KERNELS = {
    "SOFT": "SOFT",
    "STANDARD": "SOFT",
    "STND": "SOFT",
    "DETAIL": "MEDIUM",
    "CHEST": "SHARP",
    "LUNG": "SHARP",
}
_PHILIPS_SOFT = frozenset({"A", "B", "SA", "SB", "UA", "UB", "XA", "XB"})


class Sharpness(IntEnum):
    """How a convolution kernel renders edges and noise; an unknown kernel counts as medium."""

    SOFT = 0
    MEDIUM = 1
    SHARP = 2


def sharpness(kernel: str) -> Sharpness:
    """Rank a Convolution Kernel by the makers' names: Siemens B30f, Br40; GE STANDARD; Philips B, L; Canon FC08."""
    name = kernel.split("\\", maxsplit=1)[0].strip().upper()
    if name in _GE_KERNELS:
        return Sharpness[_GE_KERNELS[name]]
    if name.startswith(("BONE", "EDGE", "ULTRA", "YB", "YC", "YD")):
        return Sharpness.SHARP
    if canon := re.fullmatch(r"FC(\d{2,3})(-H)?", name):
        return Sharpness.SHARP if int(canon.group(1)) >= _CANON_SHARP_FROM else Sharpness.SOFT
    if siemens := re.match(r"[A-Z]{1,2}(\d{2})", name):
        return Sharpness.SHARP if int(siemens.group(1)) >= _SIEMENS_SHARP_FROM else Sharpness.SOFT
    if name in _PHILIPS_SOFT:
        return Sharpness.SOFT
    return Sharpness.SHARP if name in {"D", "E", "L"} else Sharpness.MEDIUM
