"""Values of a data set, read with tolerance: what is absent, or makes no sense for its attribute, is None or empty."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from analysis.series.opening import PARSE_ERRORS, OutOfBounds

MOST_ITEMS: Final = 60_000
"""Items that one sequence may hold, nested ones counted: 2,000 frames have about half of it."""

FARTHEST_MM: Final = 1e5
SPACING_MM: Final = (1e-3, 100.0)
_ITEM_TAGS: Final = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
_UNIT_TOLERANCE: Final = 1e-2


def value_of(dataset: Dataset | None, keyword: str) -> Any:
    """An attribute as pydicom gives it; None where it is absent or its bytes make no sense.

    Raises:
        OutOfBounds: it is a sequence of more items than any image has.
    """
    if dataset is None:
        return None
    try:
        check_items(dataset, Tag(keyword))
        return dataset.get(keyword)
    except PARSE_ERRORS:
        return None


def check_items(dataset: Dataset, tag: BaseTag) -> None:
    """Nothing, where an attribute that is not parsed yet has no more items than those of any image.

    Raises:
        OutOfBounds: it has.
    """
    raw = dataset.get_item(tag)
    if isinstance(raw, RawDataElement) and isinstance(raw.value, bytes):
        items = max(raw.value.count(mark) for mark in _ITEM_TAGS)
        if items > MOST_ITEMS:
            raise OutOfBounds(f"{tag} has {items} items.")


def sequence(dataset: Dataset | None, keyword: str) -> Sequence[Dataset]:
    """The items of a sequence; none where it is absent."""
    value = value_of(dataset, keyword)
    return value if isinstance(value, pydicom.Sequence) else ()


def first_item(groups: Sequence[Dataset], keyword: str) -> Dataset | None:
    """The first item of a sequence in the first group that has it."""
    return next((items[0] for group in groups if (items := sequence(group, keyword))), None)


def texts(dataset: Dataset | None, keyword: str) -> tuple[str, ...]:
    """Every value as printable text."""
    value = value_of(dataset, keyword)
    if value is None or value == "":
        return ()
    if isinstance(value, str | UID | bytes | int | float):
        return (_clean(value),)
    try:
        return tuple(_clean(one) for one in value)
    except TypeError:
        return (_clean(value),)


def text(dataset: Dataset | None, keyword: str) -> str:
    """All values as one text, with a backslash between them as in the file."""
    return "\\".join(texts(dataset, keyword))


def numbers(dataset: Dataset | None, keyword: str, count: int) -> tuple[float, ...] | None:
    """The values as numbers; None unless there are ``count`` of them, and all are finite."""
    value = value_of(dataset, keyword)
    if value is None or value == "":
        return None
    try:
        if isinstance(value, str):  # a VR of text, as UT, leaves the backslashes to the reader
            values = tuple(value.split("\\"))
        else:
            values = (value,) if isinstance(value, int | float) else tuple(value)
        found = tuple(float(one) for one in values)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if len(found) >= count and all(map(math.isfinite, found)) else None


def number(dataset: Dataset | None, keyword: str) -> float | None:
    """The first value as a number."""
    found = numbers(dataset, keyword, 1)
    return found[0] if found else None


def positive(dataset: Dataset | None, keyword: str) -> float | None:
    """The first value, where it is above 0 and not absurd."""
    found = number(dataset, keyword)
    return found if found is not None and 0 < found < FARTHEST_MM else None


def integer(dataset: Dataset | None, keyword: str) -> int | None:
    """The first value as a whole number that fits into 32 bits, as US, UL, SL and IS do."""
    found = number(dataset, keyword)
    return int(found) if found is not None and abs(found) < 2**32 else None


def spacing(dataset: Dataset | None) -> tuple[float, float] | None:
    """Pixel Spacing between rows and between columns (mm)."""
    found = numbers(dataset, "PixelSpacing", 2)
    low, high = SPACING_MM
    return (found[0], found[1]) if found and low <= min(found[:2]) and max(found[:2]) <= high else None


def position(dataset: Dataset | None) -> tuple[float, float, float] | None:
    """Image Position (Patient) (mm); None where it lies farther off than any table reaches."""
    found = numbers(dataset, "ImagePositionPatient", 3)
    return (found[0], found[1], found[2]) if found and max(map(abs, found[:3])) < FARTHEST_MM else None


def orientation(dataset: Dataset | None) -> tuple[float, float, float, float, float, float] | None:
    """Direction cosines of a row and a column; None unless they are of unit length and at right angles."""
    found = numbers(dataset, "ImageOrientationPatient", 6)
    if not found or max(map(abs, found[:6])) > 1 + _UNIT_TOLERANCE:
        return None
    row, column = found[:3], found[3:6]
    cosine = sum(one * other for one, other in zip(row, column, strict=True))
    if any(abs(math.hypot(*way) - 1) > _UNIT_TOLERANCE for way in (row, column)) or abs(cosine) > _UNIT_TOLERANCE:
        return None
    return (found[0], found[1], found[2], found[3], found[4], found[5])


def meanings(dataset: Dataset | None, keyword: str) -> Iterator[str]:
    """What the codes of a sequence mean, in words."""
    for item in sequence(dataset, keyword):
        yield from texts(item, "CodeMeaning")


def _clean(value: object) -> str:
    decoded = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
    return "".join(character for character in decoded if character.isprintable()).strip()
