"""Pictures of single cases for the report: truth against what was found, in the slice where they differ most."""

import cv2
import numpy as np
import numpy.typing as npt

from analysis.measure.burden import GGO, HIGH_OPACITY
from analysis.panels import LUNG_WINDOW_HU
from analysis.series.volume import Volume

TRUTH_COLOUR = (214, 178, 40)
FOUND_COLOUR = (40, 140, 250)
CLASS_COLOURS = {GGO: (66, 184, 250), HIGH_OPACITY: (88, 66, 235)}
LOBE_COLOURS = {4: (90, 160, 240), 5: (120, 220, 140), 6: (220, 150, 90), 7: (200, 110, 200), 8: (110, 210, 230)}
"""All BGR."""

LEGENDS = {
    "scan": "left: the slice; right: truth broad and blue, found orange, lungs thin (true grey, found yellow)",
    "slice": "left: truth, right: found; ground glass amber, high opacity red",
    "series": "left: the slice with most opacity; right: lungs blue, ground glass amber, high opacity red",
    "lobes": "left: truth, right: estimate; the coronal plane where they differ most",
}

_PANEL_PX = 420
_MARGIN_MM = 15.0
_GAP_PX = 6
_GREY, _YELLOW = (150, 150, 150), (90, 200, 220)
_TINT = 0.4

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.uint8]


def worst_slice(volume: Volume, *, found: Mask, true: Mask, lung: Mask, true_lung: Mask) -> bytes:
    """The axial slice in which the lesions found differ most from the true ones (else: the lungs do), as a PNG."""
    wrong = np.count_nonzero(found != true, axis=(1, 2))
    if not wrong.any():
        wrong = np.count_nonzero(lung != true_lung, axis=(1, 2))
    index = int(np.argmax(wrong))
    rows, columns = _crop(lung | true_lung, volume)
    spacing = (volume.row_spacing_mm, volume.column_spacing_mm)
    plain = _grey(volume.hu[index, rows, columns], spacing)
    marked = plain.copy()
    for mask, colour, width in (
        (true_lung, _GREY, 1),
        (lung, _YELLOW, 1),
        (true, TRUTH_COLOUR, 2),
        (found, FOUND_COLOUR, 1),
    ):
        _outline(marked, mask[index, rows, columns], colour, width=width)
    return _encode([plain, marked])


def picture_slice(hu: npt.NDArray[np.int16], found: Labels, true: Labels) -> bytes:
    """A slice (row, column) with the true classes on the left and those found on the right, as a PNG."""
    plain = _grey(hu, (1.0, 1.0))
    panels: list[Image] = []
    for labels in (true, found):
        panel = plain.copy()
        for label, colour in CLASS_COLOURS.items():
            _fill(panel, labels == label, colour)
        panels.append(panel)
    return _encode(panels)


def coronal_lobes(found: Labels, true: Labels, spacing_mm: tuple[float, float, float]) -> bytes:
    """The coronal plane of lobe labels (slice, row, column) in which the estimate differs most, as a PNG; head up."""
    row = int(np.argmax(np.count_nonzero(found != true, axis=(0, 2))))
    panels: list[Image] = []
    for labels in (true, found):
        plane = labels[::-1, row]
        panel = _grey(np.full(plane.shape, -1350, np.int16), (spacing_mm[0], spacing_mm[2]))
        for label, colour in LOBE_COLOURS.items():
            _fill(panel, plane == label, colour, share=0.85)
        panels.append(panel)
    return _encode(panels)


def lesion_slice(volume: Volume, labels: Labels, lung: Mask) -> bytes:
    """The axial slice with most opacity (most lung where there is none), plain and with its classes, as a PNG."""
    area = np.count_nonzero(labels, axis=(1, 2))
    index = int(np.argmax(area if area.any() else np.count_nonzero(lung, axis=(1, 2))))
    rows, columns = _crop(lung, volume)
    plain = _grey(volume.hu[index, rows, columns], (volume.row_spacing_mm, volume.column_spacing_mm))
    marked = plain.copy()
    _outline(marked, lung[index, rows, columns], TRUTH_COLOUR)
    for label, colour in CLASS_COLOURS.items():
        _fill(marked, labels[index, rows, columns] == label, colour)
    return _encode([plain, marked])


def _crop(lung: Mask, volume: Volume) -> tuple[slice, slice]:
    """Rows and columns of the lungs with a margin; the whole slice where there are none."""
    rows, columns = np.flatnonzero(lung.any(axis=(0, 2))), np.flatnonzero(lung.any(axis=(0, 1)))
    if not len(rows):
        return slice(None), slice(None)
    down, across = round(_MARGIN_MM / volume.row_spacing_mm), round(_MARGIN_MM / volume.column_spacing_mm)
    return (
        slice(max(0, int(rows[0]) - down), int(rows[-1]) + 1 + down),
        slice(max(0, int(columns[0]) - across), int(columns[-1]) + 1 + across),
    )


def _grey(plane: npt.NDArray[np.int16], spacing_mm: tuple[float, float]) -> Image:
    """A plane in the lung window with square pixels, as wide as a panel."""
    low, high = LUNG_WINDOW_HU
    grey = np.clip((plane.astype(np.float32) - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    height = max(1, round(_PANEL_PX * plane.shape[0] * spacing_mm[0] / (plane.shape[1] * spacing_mm[1])))
    sized = cv2.resize(grey, (_PANEL_PX, height), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(sized, cv2.COLOR_GRAY2BGR), np.uint8)


def _sized(mask: Mask, like: Image) -> Image:
    share = cv2.resize(mask.astype(np.uint8) * 255, (like.shape[1], like.shape[0]), interpolation=cv2.INTER_LINEAR)
    return (np.asarray(share) > 127).astype(np.uint8)


def _outline(panel: Image, mask: Mask, colour: tuple[int, int, int], *, width: int = 1) -> None:
    contours, _ = cv2.findContours(_sized(mask, panel), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(panel, contours, -1, colour, width, cv2.LINE_AA)


def _fill(panel: Image, mask: Mask, colour: tuple[int, int, int], *, share: float = _TINT) -> None:
    inside = _sized(mask, panel) > 0
    panel[inside] = (panel[inside] * (1 - share) + np.asarray(colour, np.float32) * share).astype(np.uint8)
    _outline(panel, mask, colour)


def _encode(panels: list[Image]) -> bytes:
    gap = np.full((panels[0].shape[0], _GAP_PX, 3), 255, np.uint8)
    row = [part for panel in panels for part in (panel, gap)][:-1]
    done, encoded = cv2.imencode(".png", np.concatenate(row, axis=1), (cv2.IMWRITE_PNG_COMPRESSION, 9))
    if not done:
        raise ValueError("the picture cannot be encoded")
    return encoded.tobytes()
