"""The page of a result: what a radiologist wants to see at one glance. It holds nothing that names the patient."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
import numpy.typing as npt

from alerts import wording
from alerts.policy import PolicyDecision
from alerts.reports.equipment import ascii_text
from analysis.colours import GGO_COLOUR, HIGH_OPACITY_COLOUR
from analysis.findings import Findings, KeySlice, Lobe, RegionFindings
from analysis.panels import (
    BACKGROUND,
    FAINT,
    TEXT,
    WINDOW,
    Image,
    axial_panels,
    bgr,
    blank,
    coronal_panels,
    coronal_row,
    hatch,
    rgb,
    swatch,
    text_width,
    write,
)

if TYPE_CHECKING:
    from analysis.pipeline import AnalysedSeries  # torch takes seconds to load, and a page needs none

SIZE_PX: Final = (1600, 1131)
"""Width and height: the shape of A4, lying."""

_LEFT, _MIDDLE, _RIGHT, _BOTTOM = 36, 740, 1564, 1095
_TITLE, _HEADLINE, _BODY, _SMALL = 0.8, 0.86, 0.56, 0.48
_LINE_PX = 25
_LAST_LINE = 1048
_TABLE_TOP, _ROW_PX = 190, 31
_COLUMNS = (330, 410, 490, 570)
"""Right edges of the figures; the bar follows."""
_BAR = (590, 110)
_BAR_PX = 15
_BAR_ENDS = (5.0, 10.0, 25.0, 50.0, 100.0)
_AXIAL_TOP, _AXIAL_BOX = 186, (560, 400)
_CORONAL_TOP, _CORONAL_BOX = 602, (560, 432)
_DIAGRAM = (36, 520, 300, 300)
"""Left, top, width and height of the diagram of the lobes."""
_LUNG, _EDGE = (70, 62, 56), (190, 184, 178)
_SHAPES: Final = {  # corners in hundredths of the diagram, as seen from the front: the patient's right is on the left
    Lobe.RIGHT_UPPER: ((34, 2), (44, 14), (46, 44), (8, 44), (14, 22)),
    Lobe.RIGHT_MIDDLE: ((46, 46), (47, 72), (30, 72), (17, 46)),
    Lobe.RIGHT_LOWER: ((7, 46), (15, 46), (28, 74), (47, 74), (47, 84), (4, 98), (3, 70)),
    Lobe.LEFT_UPPER: ((66, 2), (86, 22), (92, 44), (93, 56), (64, 72), (56, 58), (54, 44), (56, 14)),
    Lobe.LEFT_LOWER: ((93, 59), (97, 80), (96, 98), (62, 84), (63, 75)),
}
_NAME_PLACES: Final = {
    Lobe.RIGHT_UPPER: (28, 28),
    Lobe.RIGHT_MIDDLE: (35, 59),
    Lobe.RIGHT_LOWER: (18, 80),
    Lobe.LEFT_UPPER: (73, 36),
    Lobe.LEFT_LOWER: (81, 79),
}


def result_page(analysed: "AnalysedSeries", decision: PolicyDecision, *, change: str | None = None) -> Image:
    """Headline, figures, lobes, axial and coronal overlay, quality, change: (row, column, channel) in red, green, blue.

    ``change`` is the sentence on what has changed since an earlier examination.
    """
    page = blank(*SIZE_PX)
    findings = analysed.findings
    _heading(page, findings, decision)
    _table(page, findings)
    _diagram(page, findings)
    _sentences(page, findings, decision, change)
    _pictures(page, analysed)
    _footing(page, findings)
    return rgb(page)


def _heading(page: Image, findings: Findings, decision: PolicyDecision) -> None:
    write(page, "Lungsentry", (_LEFT, 52), _TITLE, TEXT)
    write(page, f"Opacity measurement, {wording.profile_name(findings.profile)}", (_LEFT + 190, 52), _BODY, FAINT)
    short = "Research use only"
    write(page, short, (_RIGHT - text_width(short, _TITLE), 52), _TITLE, bgr(HIGH_OPACITY_COLOUR))
    cv2.line(page, (_LEFT, 72), (_RIGHT, 72), FAINT, 1)
    alert = decision.alert
    headline = alert.headline if alert else wording.negative_result(decision.presence)
    write(page, ascii_text(headline), (_LEFT, 114), _HEADLINE, TEXT)
    if alert is not None:
        graded = f"ACR category {alert.category.value}; extent {decision.severity or 'not graded'}"
        incidental = "incidental" if alert.incidental else "expected by the request"
        write(page, f"{graded}; {incidental}. Not verified by a reader.", (_LEFT, 146), _BODY, FAINT)


def _table(page: Image, findings: Findings) -> None:
    top = _TABLE_TOP + 12
    for name, right in zip(("lung mL", "GGO mL", "high mL", "burden %"), _COLUMNS, strict=True):
        write(page, name, (right - text_width(name, _SMALL), top), _SMALL, FAINT)
    rows = tuple(_rows(findings))
    most = max(region.burden_percent for _, region in rows)
    end = next((one for one in _BAR_ENDS if one >= most), _BAR_ENDS[-1])
    scale = f"0 to {end:g} %"
    write(page, scale, (_BAR[0] + _BAR[1] - text_width(scale, _SMALL), top), _SMALL, FAINT)
    for number, (name, region) in enumerate(rows, start=1):
        base = top + number * _ROW_PX
        write(page, name, (_LEFT, base), _BODY, TEXT)
        figures = (
            f"{region.lung_volume_ml:.0f}",
            f"{region.ggo_volume_ml:.0f}",
            f"{region.high_opacity_volume_ml:.0f}",
            f"{region.burden_percent:.1f}",
        )
        for text, right in zip(figures, _COLUMNS, strict=True):
            write(page, text, (right - text_width(text, _BODY), base), _BODY, TEXT)
        _bar(page, base, region, end)


def _bar(page: Image, base: int, region: RegionFindings, end: float) -> None:
    """Ground glass, then high opacity, as shares of the region."""
    left, width = _BAR
    top, bottom = base - _BAR_PX + 2, base + 2
    middle = left + round(width * min(region.ggo_percent / end, 1.0))
    right = left + round(width * min(region.burden_percent / end, 1.0))
    cv2.rectangle(page, (left, top), (left + width, bottom), _LUNG, cv2.FILLED)
    if middle > left:
        cv2.rectangle(page, (left, top), (middle, bottom), bgr(GGO_COLOUR), cv2.FILLED)
    if right > middle:
        part = page[top : bottom + 1, middle : right + 1]
        hatch(part, np.ones(part.shape[:2], np.uint8), HIGH_OPACITY_COLOUR)
        cv2.rectangle(page, (middle, top), (right, bottom), bgr(HIGH_OPACITY_COLOUR), 1)


def _rows(findings: Findings) -> Iterator[tuple[str, RegionFindings]]:
    yield "Both lungs", findings.both_lungs
    yield "Right lung", findings.right_lung
    yield "Left lung", findings.left_lung
    for lobe in _SHAPES:
        if lobe in findings.lobes:
            part = " (in part)" if lobe in findings.lobes_in_part else ""
            yield wording.LOBE_NAMES[lobe] + part, findings.lobes[lobe]


def _diagram(page: Image, findings: Findings) -> None:
    """The lobes as outlines, each filled with opacity from below as far as it is opaque; grey lobes are not told."""
    left, top, width, height = _DIAGRAM
    drawn = page[top : top + height, left : left + width]
    for lobe, corners in _SHAPES.items():
        shape = (_rounded(corners) * (width / 100, height / 100)).astype(np.int32)
        mask = np.zeros((height, width), np.uint8)
        cv2.fillPoly(mask, [shape], 1)
        region = findings.lobes.get(lobe)
        if region is not None:
            drawn[mask > 0] = _LUNG
            _fill(drawn, mask, region)
        cv2.polylines(drawn, [shape], isClosed=True, color=_EDGE, thickness=1, lineType=cv2.LINE_AA)
        x, y = _NAME_PLACES[lobe]
        share = "not told" if region is None else f"{region.burden_percent:.1f} %"
        for number, text in enumerate((lobe.value, share)):
            place = (left + x * width // 100 - text_width(text, _SMALL) // 2, top + y * height // 100 + number * 20)
            box = (place[0] - 3, place[1] - 14), (place[0] + text_width(text, _SMALL) + 3, place[1] + 5)
            cv2.rectangle(page, *box, BACKGROUND, cv2.FILLED)
            write(page, text, place, _SMALL, TEXT if region is not None else FAINT)
    for letter, x in (("R", left - 6), ("L", left + width - 6)):
        write(page, letter, (x, top + 20), _BODY, FAINT)
    write(page, "lobes filled by burden, from below", (left, top + height + 24), _SMALL, FAINT)


def _rounded(corners: tuple[tuple[int, int], ...]) -> npt.NDArray[np.float64]:
    """A shape with its corners cut twice (Chaikin 1974)."""
    shape = np.asarray(corners, np.float64)
    for _ in range(2):
        following = np.roll(shape, -1, axis=0)
        cut = (0.85 * shape + 0.15 * following, 0.15 * shape + 0.85 * following)
        shape = np.stack(cut, axis=1).reshape(-1, 2)
    return shape


def _fill(drawn: Image, mask: Image, region: RegionFindings) -> None:
    """High opacity below, ground glass above it."""
    rows = np.nonzero(mask.any(axis=1))[0]
    counts = np.cumsum(np.count_nonzero(mask, axis=1)[::-1])[::-1] / max(1, np.count_nonzero(mask))
    for share, colour, hatched in (
        (region.burden_percent / 100, GGO_COLOUR, False),
        (region.pho_percent / 100, HIGH_OPACITY_COLOUR, True),
    ):
        filled = [row for row in rows if counts[row] <= share]
        if not filled:
            continue
        part = mask.copy()
        part[: filled[0]] = 0
        drawn[part > 0] = _LUNG if hatched else bgr(colour)
        if hatched:
            hatch(drawn, part, colour)


def _sentences(page: Image, findings: Findings, decision: PolicyDecision, change: str | None) -> None:
    left, top = _DIAGRAM[0] + _DIAGRAM[2] + 36, _DIAGRAM[1] + 10
    texts = [wording.scores_sentence(findings), *decision.reasons[:2], wording.quality_sentence(findings.quality)]
    if findings.lesion_mean_hu is not None:
        texts.insert(1, f"Separate opacities: {findings.lesion_count}; mean {findings.lesion_mean_hu:.0f} HU.")
    base = _paragraphs(page, texts, (left, top), _MIDDLE - 30 - left)
    below = max(base, _DIAGRAM[1] + _DIAGRAM[3] + 62)
    _paragraphs(page, [change or "No earlier result to compare with."], (_LEFT, below), _MIDDLE - 30 - _LEFT)


def _paragraphs(page: Image, texts: list[str], place: tuple[int, int], width_px: int) -> int:
    """Write texts one below the other, broken into lines; the base of the line that would follow.

    What does not fit above the foot of the page is left to the report, and the page says so.
    """
    x, base = place
    placed: list[tuple[int, str]] = []
    for text in texts:
        for line in _lines(ascii_text(text), width_px):
            placed.append((base, line))
            base += _LINE_PX
        base += _LINE_PX // 3
    fitting = [one for one in placed if one[0] <= _LAST_LINE]
    if len(fitting) < len(placed) and fitting:
        fitting[-1] = (fitting[-1][0], "More in the report.")
    for at, line in fitting:
        write(page, line, (x, at), _BODY, TEXT)
    return base


def _lines(text: str, width_px: int) -> Iterator[str]:
    line = ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and text_width(longer, _BODY) > width_px:
            yield line
            line = word
        else:
            line = longer
    yield line


def _pictures(page: Image, analysed: "AnalysedSeries") -> None:
    volume, lungs, labels = analysed.volume, analysed.lungs, analysed.labels
    slices = analysed.findings.key_slices
    index = max(slices, key=_area).slice_index if slices else len(volume.hu) // 2
    axial = axial_panels(volume, lungs, labels, index, box_px=_AXIAL_BOX).marked
    position = volume.slice_positions_mm[index]
    caption = (f"Axial slice {index + 1} of {len(volume.hu)}", f"position {position:.1f} mm")
    _captioned(page, axial, _AXIAL_TOP, (*caption, "most opacity", *_WINDOW_LINES))
    row = coronal_row(lungs, labels)
    coronal = coronal_panels(volume, lungs, labels, row, slices, box_px=_CORONAL_BOX).marked
    _captioned(
        page, coronal, _CORONAL_TOP, (f"Coronal row {row + 1}", "most opacity", "bars: key slices", *_WINDOW_LINES)
    )
    base = _AXIAL_TOP + _AXIAL_BOX[1] - 70
    for name, colour, hatched in (("ground glass", GGO_COLOUR, False), ("high opacity*", HIGH_OPACITY_COLOUR, True)):
        swatch(page, (_MIDDLE + _AXIAL_BOX[0] + 20, base - 14), 16, colour, hatched=hatched)
        write(page, name, (_MIDDLE + _AXIAL_BOX[0] + 46, base), _BODY, TEXT)
        base += 30


_WINDOW_LINES = tuple(WINDOW.replace(" C ", "\nC ").split("\n"))


def _area(one: KeySlice) -> float:
    return one.ggo_area_mm2 + one.high_opacity_area_mm2


def _captioned(page: Image, picture: Image, top: int, caption: tuple[str, ...]) -> None:
    height, width = picture.shape[:2]
    page[top : top + height, _MIDDLE : _MIDDLE + width] = picture
    for number, line in enumerate(caption):
        x = _MIDDLE + _AXIAL_BOX[0] + 20
        write(page, line, (x, top + 16 + number * _LINE_PX), _SMALL, TEXT if number == 0 else FAINT)


def _footing(page: Image, findings: Findings) -> None:
    provenance = findings.provenance
    cv2.line(page, (_LEFT, _BOTTOM - 42), (_RIGHT, _BOTTOM - 42), FAINT, 1)
    write(page, f"* consolidation or pleural effusion.  {wording.RESEARCH_USE}", (_LEFT, _BOTTOM - 16), _SMALL, TEXT)
    made = (
        f"Model {provenance.model_name} {provenance.model_version} ({provenance.weights_sha256[:12]}), "
        f"software {provenance.software_version}. {wording.lobes_sentence(findings)}"
    )
    write(page, ascii_text(made), (_LEFT, _BOTTOM + 8), 0.42, FAINT)
