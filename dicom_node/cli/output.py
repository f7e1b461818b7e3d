"""What is printed: JSON on standard output, tables for people, errors in red on standard error."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_STEERING = frozenset({"Cc", "Cf", "Zl", "Zp"})
"""Unicode's categories of control and format characters, and of line and paragraph separators."""
_LAST_ASCII = 0x7F
_WIDTH_OF_A_PIPE = 220
"""Columns when standard output is no terminal: nothing is cut that a ``grep`` may look for."""


def console(*, stderr: bool = False) -> Console:
    """A console on the stream as it is now; wide where it is no terminal."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    wide = not stream.isatty() and "COLUMNS" not in os.environ
    return Console(file=stream, width=_WIDTH_OF_A_PIPE if wide else None, highlight=False, soft_wrap=False)


def printable(value: str) -> str:
    """Text for a terminal: what would steer it, break its line or turn its direction shows as its code (<1B>)."""
    return "".join(
        f"<{ord(one):02X}>" if unicodedata.category(one) in _STEERING and one != "\t" else one for one in value
    )


def print_error(message: str) -> None:
    """One red line on standard error."""
    from rich.text import Text

    console(stderr=True).print(Text(f"error: {printable(' '.join(message.split()))}", style="bold red"), soft_wrap=True)


def print_note(message: str) -> None:
    """One line on standard error that is no error; standard output stays what was asked for."""
    from rich.text import Text

    console(stderr=True).print(Text(printable(message), style="yellow"), soft_wrap=True)


def say(message: str, *, style: str = "") -> None:
    """One line on standard output, never read as markup."""
    from rich.text import Text

    console().print(Text(printable(message), style=style), soft_wrap=True)


def print_json(value: object) -> None:
    """A JSON document on standard output; times in UTC, no NaN. What would steer a terminal is escaped."""
    document = json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.write("".join(_escaped(one) for one in document) + "\n")


def _escaped(one: str) -> str:
    """JSON escapes C0 of itself: the rest of what steers is escaped here, beyond the first plane as a pair."""
    if one == "\n" or unicodedata.category(one) not in _STEERING:
        return one
    return json.dumps(one)[1:-1] if ord(one) > _LAST_ASCII else f"\\u{ord(one):04x}"


def plain(value: Any) -> Any:
    """The value in JSON's terms: dataclasses and mappings as objects, times as ISO 8601 in UTC, NaN as null."""
    if value is None or isinstance(value, str | bool | int | float | Enum):
        return _plain_scalar(value)
    if isinstance(value, datetime):
        return iso_utc(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, Collection):
        return [plain(item) for item in value]
    return value.as_posix() if isinstance(value, PurePath) else str(value)


def _plain_scalar(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def iso_utc(moment: datetime | None) -> str | None:
    """A time in UTC, as JSON carries it: 2026-01-31T12:00:00Z; fractions of a second are kept."""
    return None if moment is None else _aware(moment).astimezone(UTC).isoformat().replace("+00:00", "Z")


def local_time(moment: datetime | None) -> str:
    """A time where the reader sits, with its zone: 2026-01-31 13:00:00 CET."""
    return "-" if moment is None else _aware(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def number(value: float | None, decimals: int = 1) -> str:
    """A figure for a table, or a dash where there is none."""
    return "-" if value is None else f"{value:.{decimals}f}"


def text(value: Any) -> str:
    """A value for a table, or a dash where there is none."""
    if value is None or value == "":
        return "-"
    if isinstance(value, datetime):
        return local_time(value)
    if isinstance(value, tuple | list):
        return ", ".join(text(item) for item in value) or "-"
    return str(value.value) if isinstance(value, Enum) else str(value)


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    title: str | None = None,
    caption: str | None = None,
    numeric: Collection[str] = (),
    empty: str = "nothing to list",
) -> None:
    """A table for people; where there are no rows, the sentence ``empty`` instead."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    listed = [[Text(printable(cell)) for cell in row] for row in rows]
    if not listed:
        say(empty)
        return
    table = Table(
        title=Text(printable(title)) if title else None,
        caption=Text(printable(caption)) if caption else None,
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
    )
    for name in columns:
        table.add_column(printable(name), justify="right" if name in numeric else "left", overflow="fold")
    for row in listed:
        table.add_row(*row)
    console().print(table)


def fields_of(value: Any) -> dict[str, object]:
    """The fields of a value object by their names, spelt for people."""
    return {field.name.replace("_", " "): getattr(value, field.name) for field in dataclasses.fields(value)}


def print_fields(fields: Mapping[str, object], *, title: str | None = None) -> None:
    """Name and value a line, for one thing that is shown."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in fields.items():
        grid.add_row(Text(printable(name)), Text(printable(text(value))))
    out = console()
    if title:
        out.print(Text(printable(title), style="bold underline"))
    out.print(grid)
