"""Values as cells of a table that a spreadsheet opens."""

from collections.abc import Iterable
from datetime import datetime

__all__ = ["cells"]

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def cells(values: Iterable[str | float | datetime | None]) -> list[str]:
    """Each as text; a text that a spreadsheet would take for a formula is led by an apostrophe, for it is anybody's."""
    return [_cell(value) for value in values]


def _cell(value: str | float | datetime | None) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text
