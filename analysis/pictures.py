"""Pictures for people: key slices, a coronal overview and the lobes, each with its overlay, and no patient data."""

from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt

from analysis.anatomy.lobes import LOBE_LABELS, Lobes
from analysis.anatomy.lungs import LEFT, RIGHT, Lungs
from analysis.findings import KeySlice, Lobe
from analysis.measure.regions import GGO, HIGH_OPACITY
from analysis.series.volume import Volume

DISCLAIMER = "Research use only. Not a diagnosis."
LUNG_WINDOW_HU = (-1350.0, 150.0)
"""Centre -600 HU, width 1500 HU."""

_PANEL_PX = 640
_MARGIN_PX = 16
_HEADER_PX = 44
_FOOTER_PX = 56
_ENTRY_PX = 52
_SMALL = 0.48
_COLOURS = {GGO: (66, 184, 250), HIGH_OPACITY: (88, 66, 235)}  # BGR: amber, red
_NAMES = {GGO: "Ground-glass opacity", HIGH_OPACITY: "High opacity"}
_LUNG_COLOUR = (168, 150, 96)
_LOBE_COLOURS = {
    Lobe.RIGHT_UPPER: (201, 161, 92),
    Lobe.RIGHT_MIDDLE: (142, 186, 112),
    Lobe.RIGHT_LOWER: (214, 129, 168),
    Lobe.LEFT_UPPER: (188, 176, 64),
    Lobe.LEFT_LOWER: (168, 118, 214),
}
_LOBE_TINT = 0.3
_BACKGROUND, _TEXT, _FAINT = (24, 20, 18), (236, 232, 228), (150, 142, 136)
_TINT = 0.38
_SCALE_BAR_MM = 50.0
_CROP_MARGIN_MM = 25.0
_FONT = cv2.FONT_HERSHEY_DUPLEX

Image = npt.NDArray[np.uint8]
_Labels = npt.NDArray[np.uint8]


def key_slice_png(volume: Volume, lungs: Lungs, labels: _Labels, slice_index: int) -> bytes:
    """Show one slice in the lung window, plain on the left, with its opacities on the right, as a PNG.

    The patient's right is on the left of each panel. ``labels`` is (slice, row, column) on the grid of the volume.
    """
    rows, columns = _crop(volume, lungs)
    spacing = (volume.row_spacing_mm, volume.column_spacing_mm)
    plane = volume.hu[slice_index, rows, columns]
    sides, classes = lungs.labels[slice_index, rows, columns], labels[slice_index, rows, columns]
    plain, scale = _panel(plane, spacing)
    marked = _overlay(plain, sides, classes)
    for panel in (plain, marked):
        _letters(panel, left="R", right="L", top="A", bottom="P")
        _scale_bar(panel, scale)
    position = volume.slice_positions_mm[slice_index]
    title = f"Axial slice {slice_index + 1} of {len(volume.hu)}   |   position {position:.1f} mm"
    pixel_cm2 = spacing[0] * spacing[1] / 100
    areas = {label: float(np.count_nonzero(classes == label)) * pixel_cm2 for label in _NAMES}
    return _encode(_page([plain, marked], title, _legend({label: f"{area:.1f} cm2" for label, area in areas.items()})))


def coronal_png(volume: Volume, lungs: Lungs, labels: _Labels, key_slices: tuple[KeySlice, ...] = ()) -> bytes:
    """Show the coronal plane with most opacity (most lung where there is none), and the levels of the key slices.

    Beside the plain plane lies the overlay, where a bar at the side marks each key slice with its number.
    """
    row = _coronal_row(lungs, labels)
    _, columns = _crop(volume, lungs)
    spacing = (volume.slice_spacing_mm, volume.column_spacing_mm)
    plane = volume.hu[::-1, row, columns]
    plain, scale = _panel(plane, spacing)
    marked = _overlay(plain, lungs.labels[::-1, row, columns], labels[::-1, row, columns])
    height = marked.shape[0]
    for key in key_slices:
        level = round((len(volume.hu) - key.slice_index - 0.5) / len(volume.hu) * height)
        level = min(max(level, 8), height - 8)
        right = marked.shape[1]
        cv2.rectangle(marked, (right - 62, level - 10), (right, level + 10), _BACKGROUND, cv2.FILLED)
        cv2.line(marked, (right - 22, level), (right - 4, level), _TEXT, 3, cv2.LINE_AA)
        _text(marked, str(key.slice_index + 1), (right - 56, level + 5), 0.42, _TEXT)
    for panel in (plain, marked):
        _letters(panel, left="R", right="", top="H", bottom="F")
        _scale_bar(panel, scale)
    title = f"Coronal overview   |   row {row + 1}   |   bars: key slices"
    return _encode(_page([plain, marked], title, _legend({})))


def lobes_png(volume: Volume, lungs: Lungs, lobes: Lobes, labels: _Labels) -> bytes:
    """Show lungs, lobes and opacities in the coronal and the axial plane that hold most of all lobes.

    Lung of which no lobe is told is outlined and not tinted; the legend names the lobes that are told.
    """
    parts = np.where(lungs.labels > 0, lobes.labels, 0).astype(np.uint8)
    sides = lungs.labels
    row, level = (_telling_plane(parts, sides, axis) for axis in (1, 0))
    rows, columns = _crop(volume, lungs)
    coronal, coronal_scale = _panel(volume.hu[::-1, row, columns], (volume.slice_spacing_mm, volume.column_spacing_mm))
    axial, axial_scale = _panel(volume.hu[level, rows, columns], (volume.row_spacing_mm, volume.column_spacing_mm))
    coronal = _overlay(
        _tinted(coronal, parts[::-1, row, columns]), sides[::-1, row, columns], labels[::-1, row, columns]
    )
    axial = _overlay(
        _tinted(axial, parts[level, rows, columns]), sides[level, rows, columns], labels[level, rows, columns]
    )
    for panel, scale, top, bottom in ((coronal, coronal_scale, "H", "F"), (axial, axial_scale, "A", "P")):
        _letters(panel, left="R", right="L", top=top, bottom=bottom)
        _scale_bar(panel, scale)
    title = f"Lungs and lobes, estimated   |   coronal row {row + 1}, axial slice {level + 1} of {len(volume.hu)}"
    told = [(_LOBE_COLOURS[lobe], lobe.value) for lobe in LOBE_LABELS.values() if lobe in lobes.confidence_percent]
    return _encode(_page([coronal, axial], title, [*told, *_legend({})]))


def _telling_plane(parts: _Labels, sides: _Labels, axis: int) -> int:
    """Index along an axis where lobes have the largest shares of their largest sections together; else most lung."""
    others = tuple(other for other in range(3) if other != axis)
    areas = [np.count_nonzero(parts == label, axis=others) for label in LOBE_LABELS]
    shares = [np.sqrt(area / area.max()) for area in areas if area.any()]
    return int(np.argmax(sum(shares) if shares else np.count_nonzero(sides, axis=others)))


def _tinted(plain: Image, parts: _Labels) -> Image:
    tinted = plain.copy()
    for label, lobe in LOBE_LABELS.items():
        mask = _enlarged(parts == label, plain)
        colour = np.asarray(_LOBE_COLOURS[lobe], np.float32)
        tinted[mask > 0] = (tinted[mask > 0] * (1 - _LOBE_TINT) + colour * _LOBE_TINT).astype(np.uint8)
        cv2.drawContours(tinted, _contours(mask), -1, _LOBE_COLOURS[lobe], 1, cv2.LINE_AA)
    return tinted


def _legend(amounts: Mapping[int, str]) -> list[tuple[tuple[int, int, int], str]]:
    """Colour and name of each class of opacity, with its amount where one is given."""
    return [(_COLOURS[label], f"{name}  {amounts.get(label, '')}".rstrip()) for label, name in _NAMES.items()]


def _crop(volume: Volume, lungs: Lungs) -> tuple[slice, slice]:
    """Rows and columns of the lung box with a margin; the whole slice where there is no lung."""
    box = lungs.box
    if box is None:
        return slice(0, volume.hu.shape[1]), slice(0, volume.hu.shape[2])
    row, column = (round(_CROP_MARGIN_MM / mm) for mm in (volume.row_spacing_mm, volume.column_spacing_mm))
    return (
        slice(max(0, box[1].start - row), min(volume.hu.shape[1], box[1].stop + row)),
        slice(max(0, box[2].start - column), min(volume.hu.shape[2], box[2].stop + column)),
    )


def _coronal_row(lungs: Lungs, labels: _Labels) -> int:
    lesion = np.count_nonzero(labels, axis=(0, 2))
    amounts = lesion if lesion.any() else np.count_nonzero(lungs.labels, axis=(0, 2))
    return int(np.argmax(amounts))


def _panel(plane: npt.NDArray[np.int16], spacing_mm: tuple[float, float]) -> tuple[Image, float]:
    """Window a plane and bring it to the panel's width with square pixels; also pixels per mm."""
    low, high = LUNG_WINDOW_HU
    grey = np.clip((plane.astype(np.float32) - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    height_mm, width_mm = plane.shape[0] * spacing_mm[0], plane.shape[1] * spacing_mm[1]
    scale = min(_PANEL_PX / width_mm, 1.5 * _PANEL_PX / height_mm)
    size = (max(1, round(width_mm * scale)), max(1, round(height_mm * scale)))
    return cv2.cvtColor(cv2.resize(grey, size, interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2BGR).astype(
        np.uint8
    ), scale


def _overlay(plain: Image, sides: _Labels, classes: _Labels) -> Image:
    """Outline the lungs thinly, tint and outline each class of opacity."""
    marked = plain.copy()
    for side in (RIGHT, LEFT):
        cv2.drawContours(marked, _contours(_enlarged(sides == side, plain)), -1, _LUNG_COLOUR, 1, cv2.LINE_AA)
    for label, colour in _COLOURS.items():
        mask = _enlarged(classes == label, plain)
        inside = mask > 0
        tinted = marked[inside] * (1 - _TINT) + np.asarray(colour, np.float32) * _TINT
        marked[inside] = tinted.astype(np.uint8)
        cv2.drawContours(marked, _contours(mask), -1, colour, 1, cv2.LINE_AA)
    return marked


def _enlarged(mask: npt.NDArray[np.bool_], like: Image) -> Image:
    share = mask.astype(np.uint8) * 255
    enlarged = cv2.resize(share, (like.shape[1], like.shape[0]), interpolation=cv2.INTER_LINEAR)
    return (enlarged > 127).astype(np.uint8)


def _contours(mask: Image) -> list[npt.NDArray[np.int32]]:
    found, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return [np.asarray(contour, np.int32) for contour in found]


def _letters(panel: Image, *, left: str, right: str, top: str, bottom: str) -> None:
    height, width = panel.shape[:2]
    for letter, place in (
        (left, (8, height // 2 + 7)),
        (right, (width - 24, height // 2 + 7)),
        (top, (width // 2 - 7, 24)),
        (bottom, (width // 2 - 7, height - 10)),
    ):
        if letter:
            x, y = place
            cv2.rectangle(panel, (x - 5, y - 19), (x + _width(letter, 0.6) + 5, y + 5), _BACKGROUND, cv2.FILLED)
            _text(panel, letter, place, 0.6, _TEXT)


def _scale_bar(panel: Image, pixels_per_mm: float) -> None:
    length, bottom = round(_SCALE_BAR_MM * pixels_per_mm), panel.shape[0] - 14
    cv2.rectangle(panel, (6, bottom - 26), (18 + length, bottom + 8), _BACKGROUND, cv2.FILLED)
    cv2.line(panel, (12, bottom), (12 + length, bottom), _TEXT, 2, cv2.LINE_AA)
    _text(panel, f"{_SCALE_BAR_MM / 10:g} cm", (12, bottom - 9), 0.42, _TEXT)


def _page(panels: list[Image], title: str, legend: list[tuple[tuple[int, int, int], str]]) -> Image:
    """Set panels side by side between a header and a footer with legend and disclaimer, wide enough for both."""
    entries_px = sum(_ENTRY_PX + _width(entry, _SMALL) for _, entry in legend)
    panels_px = sum(panel.shape[1] + _MARGIN_PX for panel in panels)
    width = _MARGIN_PX + max(panels_px, entries_px + _width(DISCLAIMER, _SMALL) + _MARGIN_PX)
    height = max(panel.shape[0] for panel in panels)
    page = np.full((height + _HEADER_PX + _FOOTER_PX, width, 3), _BACKGROUND, np.uint8)
    x = _MARGIN_PX
    for panel in panels:
        page[_HEADER_PX : _HEADER_PX + panel.shape[0], x : x + panel.shape[1]] = panel
        x += panel.shape[1] + _MARGIN_PX
    _text(page, "Lungsentry", (_MARGIN_PX, 29), 0.6, _TEXT)
    _text(page, title, (_MARGIN_PX + 140, 29), _SMALL, _FAINT)
    base = height + _HEADER_PX + 34
    x = _MARGIN_PX
    for colour, entry in legend:
        cv2.rectangle(page, (x, base - 13), (x + 15, base + 2), colour, cv2.FILLED)
        _text(page, entry, (x + 24, base), _SMALL, _TEXT)
        x += _ENTRY_PX + _width(entry, _SMALL)
    _text(page, DISCLAIMER, (width - _MARGIN_PX - _width(DISCLAIMER, _SMALL), base), _SMALL, _FAINT)
    return page


def _width(text: str, size: float) -> int:
    return cv2.getTextSize(text, _FONT, size, 1)[0][0]


def _text(image: Image, text: str, place: tuple[int, int], size: float, colour: tuple[int, int, int]) -> None:
    cv2.putText(image, text, place, _FONT, size, colour, 1, cv2.LINE_AA)


def _encode(image: Image) -> bytes:
    done, encoded = cv2.imencode(".png", image)
    if not done:
        raise ValueError("the picture cannot be encoded")
    return encoded.tobytes()
