"""Planes of a volume as panels: windowed, with square pixels, opacities marked, orientation and scale; no patient data.

Panels are uint8 (row, column, channel) in blue, green, red, as OpenCV has them.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from analysis.anatomy.lungs import LEFT, RIGHT, Lungs
from analysis.colours import GGO_COLOUR, HIGH_OPACITY_COLOUR, LUNG_COLOUR, Colour
from analysis.findings import KeySlice
from analysis.measure.regions import GGO, HIGH_OPACITY
from analysis.series.volume import Volume

LUNG_WINDOW_HU: Final = (-1350.0, 150.0)
"""Centre -600 HU, width 1500 HU."""
WINDOW: Final = "lung window C -600 W 1500 HU"
BACKGROUND, TEXT, FAINT = (24, 20, 18), (236, 232, 228), (160, 152, 146)
Box = tuple[int, int]
BOX_PX: Final[Box] = (640, 960)
"""The most a panel takes, width before height."""

_MARKS: Final = {GGO: (GGO_COLOUR, 1), HIGH_OPACITY: (HIGH_OPACITY_COLOUR, 2)}
"""Colour and width of the outline of each class: who sees no colours tells them apart by line and hatching."""
_TINT = 0.38
_HATCH_PX, _HATCH_LINE_PX = 9, 2
_SCALE_BAR_MM = 50.0
_CROP_MARGIN_MM = 25.0
_FONT = cv2.FONT_HERSHEY_DUPLEX

Image = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Panels:
    """A plane as it is, and marked."""

    plain: Image
    marked: Image


def axial_panels(volume: Volume, lungs: Lungs, labels: Labels, slice_index: int, *, box_px: Box = BOX_PX) -> Panels:
    """One slice around the lungs; the patient's right is on the left, the front above."""
    rows, columns = crop(volume, lungs)
    spacing = (volume.row_spacing_mm, volume.column_spacing_mm)
    plain, scale = panel(volume.hu[slice_index, rows, columns], spacing, box_px)
    marked = overlay(plain, lungs.labels[slice_index, rows, columns], labels[slice_index, rows, columns])
    for image in (plain, marked):
        letters(image, left="R", right="L", top="A", bottom="P")
        scale_bar(image, scale)
    return Panels(plain=plain, marked=marked)


def coronal_panels(
    volume: Volume,
    lungs: Lungs,
    labels: Labels,
    row: int,
    key_slices: tuple[KeySlice, ...] = (),
    *,
    box_px: Box = BOX_PX,
) -> Panels:
    """One coronal plane; a bar at the side marks the level of each key slice with its number."""
    _, columns = crop(volume, lungs)
    spacing = (volume.slice_spacing_mm, volume.column_spacing_mm)
    plain, scale = panel(volume.hu[::-1, row, columns], spacing, box_px)
    marked = overlay(plain, lungs.labels[::-1, row, columns], labels[::-1, row, columns])
    height, right = marked.shape[:2]
    for key in key_slices:
        level = round((len(volume.hu) - key.slice_index - 0.5) / len(volume.hu) * height)
        level = min(max(level, 8), height - 8)
        cv2.rectangle(marked, (right - 62, level - 10), (right, level + 10), BACKGROUND, cv2.FILLED)
        cv2.line(marked, (right - 22, level), (right - 4, level), TEXT, 3, cv2.LINE_AA)
        write(marked, str(key.slice_index + 1), (right - 56, level + 5), 0.42, TEXT)
    for image, right_letter in ((plain, "L"), (marked, "" if key_slices else "L")):
        letters(image, left="R", right=right_letter, top="H", bottom="F")
        scale_bar(image, scale)
    return Panels(plain=plain, marked=marked)


def coronal_row(lungs: Lungs, labels: Labels) -> int:
    """The row with most opacity, all of which lies in the lungs; with most lung where there is none."""
    box = lungs.box
    if box is None:
        return 0
    inside = labels[box] if labels[box].any() else lungs.labels[box]
    return box[1].start + int(np.argmax(np.count_nonzero(inside, axis=(0, 2))))


def crop(volume: Volume, lungs: Lungs) -> tuple[slice, slice]:
    """Rows and columns of the lung box with a margin; the whole slice where there is no lung."""
    box = lungs.box
    if box is None:
        return slice(0, volume.hu.shape[1]), slice(0, volume.hu.shape[2])
    row, column = (round(_CROP_MARGIN_MM / mm) for mm in (volume.row_spacing_mm, volume.column_spacing_mm))
    return (
        slice(max(0, box[1].start - row), min(volume.hu.shape[1], box[1].stop + row)),
        slice(max(0, box[2].start - column), min(volume.hu.shape[2], box[2].stop + column)),
    )


def panel(plane: npt.NDArray[np.int16], spacing_mm: tuple[float, float], box_px: Box = BOX_PX) -> tuple[Image, float]:
    """Window a plane and bring it into a box with square pixels; also pixels per mm."""
    low, high = LUNG_WINDOW_HU
    grey = np.clip((plane.astype(np.float32) - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    height_mm, width_mm = plane.shape[0] * spacing_mm[0], plane.shape[1] * spacing_mm[1]
    scale = min(box_px[0] / width_mm, box_px[1] / height_mm)
    size = (max(1, round(width_mm * scale)), max(1, round(height_mm * scale)))
    enlarged = cv2.resize(grey, size, interpolation=cv2.INTER_CUBIC)
    return cv2.cvtColor(enlarged, cv2.COLOR_GRAY2BGR).astype(np.uint8), scale


def overlay(plain: Image, sides: Labels, classes: Labels) -> Image:
    """Outline the lungs thinly, tint and outline each class of opacity, and hatch high opacity."""
    marked = plain.copy()
    for side in (RIGHT, LEFT):
        outline(marked, enlarged_mask(sides == side, plain), LUNG_COLOUR)
    for label, (colour, width) in _MARKS.items():
        mask = enlarged_mask(classes == label, plain)
        tint(marked, mask, colour, _TINT)
        if label == HIGH_OPACITY:
            hatch(marked, mask, colour)
        outline(marked, mask, colour, width)
    return marked


def tint(image: Image, mask: Image, colour: Colour, share: float) -> None:
    """Lay a colour over part of an image."""
    inside = mask > 0
    image[inside] = (image[inside] * (1 - share) + np.asarray(bgr(colour), np.float32) * share).astype(np.uint8)


def hatch(image: Image, mask: Image, colour: Colour) -> None:
    """Lay diagonal lines over part of an image."""
    diagonal = np.add.outer(np.arange(mask.shape[0]), np.arange(mask.shape[1]))
    image[(mask > 0) & (diagonal % _HATCH_PX < _HATCH_LINE_PX)] = bgr(colour)


def outline(image: Image, mask: Image, colour: Colour, width: int = 1) -> None:
    """Draw the border of part of an image, holes included."""
    found, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    contours = [np.asarray(contour, np.int32) for contour in found]
    cv2.drawContours(image, contours, -1, bgr(colour), width, cv2.LINE_AA)


def enlarged_mask(mask: npt.NDArray[np.bool_], like: Image) -> Image:
    """A mask in the size of a panel, 0 or 1."""
    share = mask.astype(np.uint8) * 255
    enlarged = cv2.resize(share, (like.shape[1], like.shape[0]), interpolation=cv2.INTER_LINEAR)
    return (enlarged > 127).astype(np.uint8)


def swatch(image: Image, corner: tuple[int, int], size_px: int, colour: Colour, *, hatched: bool) -> None:
    """A square of a legend, as its class is marked."""
    x, y = corner
    cv2.rectangle(image, corner, (x + size_px, y + size_px), bgr(colour), 1 if hatched else cv2.FILLED)
    if hatched:
        part = image[y : y + size_px, x : x + size_px]
        hatch(part, np.ones(part.shape[:2], np.uint8), colour)


def bgr(colour: Colour) -> tuple[int, int, int]:
    """A colour as OpenCV has it."""
    red, green, blue = colour
    return blue, green, red


def letters(image: Image, *, left: str, right: str, top: str, bottom: str) -> None:
    """Where the patient's right, left, front, back, head and feet are."""
    height, width = image.shape[:2]
    for letter, place in (
        (left, (8, height // 2 + 7)),
        (right, (width - 24, height // 2 + 7)),
        (top, (width // 2 - 7, 24)),
        (bottom, (width // 2 - 7, height - 10)),
    ):
        if letter:
            x, y = place
            cv2.rectangle(image, (x - 5, y - 19), (x + text_width(letter, 0.6) + 5, y + 5), BACKGROUND, cv2.FILLED)
            write(image, letter, place, 0.6, TEXT)


def scale_bar(image: Image, pixels_per_mm: float) -> None:
    """Five centimetres."""
    length, bottom = round(_SCALE_BAR_MM * pixels_per_mm), image.shape[0] - 14
    cv2.rectangle(image, (6, bottom - 26), (18 + length, bottom + 8), BACKGROUND, cv2.FILLED)
    cv2.line(image, (12, bottom), (12 + length, bottom), TEXT, 2, cv2.LINE_AA)
    write(image, f"{_SCALE_BAR_MM / 10:g} cm", (12, bottom - 9), 0.42, TEXT)


def blank(width: int, height: int) -> Image:
    """An empty page."""
    page = np.empty((height, width, 3), np.uint8)
    cv2.rectangle(page, (0, 0), (width, height), BACKGROUND, cv2.FILLED)
    return page


def rgb(image: Image) -> Image:
    """A picture in red, green and blue, as DICOM has it."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def text_width(text: str, size: float) -> int:
    """Width of a text in pixels."""
    return cv2.getTextSize(text, _FONT, size, 1)[0][0]


def write(image: Image, text: str, place: tuple[int, int], size: float, colour: Colour) -> None:
    """Write a text from its lower left corner, in a colour of blue, green and red."""
    cv2.putText(image, text, place, _FONT, size, colour, 1, cv2.LINE_AA)
