"""Pictures for people: key slices, a coronal overview and the lobes, each with its overlay, and no patient data."""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from analysis.anatomy.lobes import LOBE_LABELS, Lobes
from analysis.anatomy.lungs import Lungs
from analysis.colours import GGO_COLOUR, HIGH_OPACITY_COLOUR, LOBE_COLOURS, Colour
from analysis.findings import KeySlice
from analysis.measure.regions import GGO, HIGH_OPACITY
from analysis.panels import (
    FAINT,
    TEXT,
    WINDOW,
    Image,
    Labels,
    axial_panels,
    blank,
    coronal_panels,
    coronal_row,
    crop,
    enlarged_mask,
    letters,
    outline,
    overlay,
    panel,
    scale_bar,
    swatch,
    text_width,
    tint,
    write,
)
from analysis.series.volume import Volume

DISCLAIMER = "Research use only. Not a diagnosis."

_MARGIN_PX = 16
_HEADER_PX = 44
_FOOTER_PX = 56
_ENTRY_PX = 52
_SWATCH_PX = 15
_SMALL = 0.48
_LOBE_TINT = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """A line of a legend."""

    colour: Colour
    text: str
    hatched: bool = False


def key_slice_picture(volume: Volume, lungs: Lungs, labels: Labels, slice_index: int) -> Image:
    """Show one slice in the lung window, plain on the left, with its opacities on the right.

    The patient's right is on the left of each panel. ``labels`` is (slice, row, column) on the grid of the volume.
    """
    panels = axial_panels(volume, lungs, labels, slice_index)
    position = volume.slice_positions_mm[slice_index]
    title = f"Axial slice {slice_index + 1} of {len(volume.hu)}   |   position {position:.1f} mm   |   {WINDOW}"
    pixel_cm2 = volume.row_spacing_mm * volume.column_spacing_mm / 100
    areas = {label: float(np.count_nonzero(labels[slice_index] == label)) * pixel_cm2 for label in (GGO, HIGH_OPACITY)}
    amounts = {label: f"{area:.1f} cm2" for label, area in areas.items()}
    return _page([panels.plain, panels.marked], title, _legend(amounts))


def key_slice_png(volume: Volume, lungs: Lungs, labels: Labels, slice_index: int) -> bytes:
    """``key_slice_picture`` as a PNG."""
    return encode_png(key_slice_picture(volume, lungs, labels, slice_index))


def coronal_png(volume: Volume, lungs: Lungs, labels: Labels, key_slices: tuple[KeySlice, ...] = ()) -> bytes:
    """Show the coronal plane with most opacity (most lung where there is none), and the levels of the key slices.

    Beside the plain plane lies the overlay, where a bar at the side marks each key slice with its number.
    """
    row = coronal_row(lungs, labels)
    panels = coronal_panels(volume, lungs, labels, row, key_slices)
    title = f"Coronal overview, row {row + 1}   |   bars: key slices   |   {WINDOW}"
    return encode_png(_page([panels.plain, panels.marked], title, _legend({})))


def lobes_png(volume: Volume, lungs: Lungs, lobes: Lobes, labels: Labels) -> bytes:
    """Show lungs, lobes and opacities in the coronal and the axial plane that hold most of all lobes.

    Lung of which no lobe is told is outlined and not tinted; the legend names the lobes that are told.
    """
    parts = np.where(lungs.labels > 0, lobes.labels, 0).astype(np.uint8)
    sides = lungs.labels
    row, level = (_telling_plane(parts, sides, axis) for axis in (1, 0))
    rows, columns = crop(volume, lungs)
    coronal, coronal_scale = panel(volume.hu[::-1, row, columns], (volume.slice_spacing_mm, volume.column_spacing_mm))
    axial, axial_scale = panel(volume.hu[level, rows, columns], (volume.row_spacing_mm, volume.column_spacing_mm))
    coronal = overlay(
        _tinted(coronal, parts[::-1, row, columns]), sides[::-1, row, columns], labels[::-1, row, columns]
    )
    axial = overlay(
        _tinted(axial, parts[level, rows, columns]), sides[level, rows, columns], labels[level, rows, columns]
    )
    for image, scale, top, bottom in ((coronal, coronal_scale, "H", "F"), (axial, axial_scale, "A", "P")):
        letters(image, left="R", right="L", top=top, bottom=bottom)
        scale_bar(image, scale)
    title = f"Lobes, estimated   |   coronal row {row + 1}, axial slice {level + 1} of {len(volume.hu)}   |   {WINDOW}"
    told = [
        _Entry(colour=LOBE_COLOURS[lobe], text=lobe.value)
        for lobe in LOBE_LABELS.values()
        if lobe in lobes.confidence_percent
    ]
    return encode_png(_page([coronal, axial], title, [*told, *_legend({})]))


def encode_png(image: Image) -> bytes:
    """A picture in blue, green and red as a file."""
    done, encoded = cv2.imencode(".png", image)
    if not done:
        raise ValueError("the picture cannot be encoded")
    return encoded.tobytes()


def _telling_plane(parts: Labels, sides: Labels, axis: int) -> int:
    """Index along an axis where lobes have the largest shares of their largest sections together; else most lung."""
    others = tuple(other for other in range(3) if other != axis)
    areas = [np.count_nonzero(parts == label, axis=others) for label in LOBE_LABELS]
    shares = [np.sqrt(area / area.max()) for area in areas if area.any()]
    return int(np.argmax(sum(shares) if shares else np.count_nonzero(sides, axis=others)))


def _tinted(plain: Image, parts: Labels) -> Image:
    tinted = plain.copy()
    for label, lobe in LOBE_LABELS.items():
        mask = enlarged_mask(parts == label, plain)
        tint(tinted, mask, LOBE_COLOURS[lobe], _LOBE_TINT)
        outline(tinted, mask, LOBE_COLOURS[lobe])
    return tinted


def _legend(amounts: Mapping[int, str]) -> list[_Entry]:
    """Mark and name of each class of opacity, with its amount where one is given."""
    ggo, high = (
        f"{name}  {amounts.get(label, '')}".rstrip()
        for label, name in ((GGO, "Ground-glass opacity"), (HIGH_OPACITY, "High opacity"))
    )
    return [_Entry(colour=GGO_COLOUR, text=ggo), _Entry(colour=HIGH_OPACITY_COLOUR, text=high, hatched=True)]


def _page(panels: list[Image], title: str, legend: list[_Entry]) -> Image:
    """Set panels side by side between a header and a footer with legend and disclaimer, wide enough for both."""
    entries_px = sum(_ENTRY_PX + text_width(entry.text, _SMALL) for entry in legend)
    panels_px = sum(image.shape[1] + _MARGIN_PX for image in panels)
    width = _MARGIN_PX + max(panels_px, entries_px + text_width(DISCLAIMER, _SMALL) + _MARGIN_PX)
    height = max(image.shape[0] for image in panels)
    page = blank(width, height + _HEADER_PX + _FOOTER_PX)
    x = _MARGIN_PX
    for image in panels:
        page[_HEADER_PX : _HEADER_PX + image.shape[0], x : x + image.shape[1]] = image
        x += image.shape[1] + _MARGIN_PX
    write(page, "Lungsentry", (_MARGIN_PX, 29), 0.6, TEXT)
    write(page, title, (_MARGIN_PX + 140, 29), _SMALL, FAINT)
    base = height + _HEADER_PX + 34
    x = _MARGIN_PX
    for entry in legend:
        swatch(page, (x, base - 13), _SWATCH_PX, entry.colour, hatched=entry.hatched)
        write(page, entry.text, (x + 24, base), _SMALL, TEXT)
        x += _ENTRY_PX + text_width(entry.text, _SMALL)
    write(page, DISCLAIMER, (width - _MARGIN_PX - text_width(DISCLAIMER, _SMALL), base), _SMALL, FAINT)
    return page
