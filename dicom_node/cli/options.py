"""Options that many commands share."""

import getpass
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, TypeVar

import typer

from dicom_node.cli.failures import UsageError

_Choice = TypeVar("_Choice", bound=StrEnum)

Json = Annotated[bool, typer.Option("--json", help="Print JSON; times are in UTC.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="At most so many.")]
SeriesUid = Annotated[
    str, typer.Argument(metavar="SERIES", help="Series Instance UID, or enough of its end or beginning to be unique.")
]
StudyUid = Annotated[
    str, typer.Argument(metavar="STUDY", help="Study Instance UID, or enough of its end or beginning to be unique.")
]
Host = Annotated[str | None, typer.Option(help="Where the peer listens; without it, as the node knows it.")]
Port = Annotated[int | None, typer.Option(min=1, max=65535, help="The port it listens on.")]
Calling = Annotated[
    str | None, typer.Option("--calling", metavar="AE_TITLE", help="The AE title to call with, if not the usual one.")
]


def this_user() -> str:
    """Who types: the name that is written beside an action."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def chosen(kind: type[_Choice], given: Sequence[str] | None, *, what: str = "state") -> tuple[_Choice, ...] | None:
    """The states, or ``what`` it is, that were named on the command line; None where none was, which means all.

    Raises:
        UsageError: there is none of that name.
    """
    if not given:
        return None
    return tuple(one_of(kind, name, what=what) for name in given)


def one_of(kind: type[_Choice], given: str, *, what: str) -> _Choice:
    """The one that was named on the command line, in any case.

    Raises:
        UsageError: there is none of that name.
    """
    try:
        return kind(given.lower())
    except ValueError as error:
        names = ", ".join(member.value for member in kind)
        raise UsageError(f"there is no {what} {given!r}; it is one of {names}") from error


_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def moment(given: str | None) -> datetime | None:
    """A point in time in UTC: a date or time (local unless it has a zone), or how long ago (30m, 12h, 7d, 2w).

    Raises:
        UsageError: it is neither.
    """
    if given is None:
        return None
    typed = given.strip()
    try:
        if typed[:-1].isdecimal() and typed[-1] in _UNITS:
            return datetime.now(UTC) - int(typed[:-1]) * _UNITS[typed[-1]]
        return datetime.fromisoformat(typed).astimezone(UTC)
    except OverflowError as error:
        raise UsageError(f"{given!r} lies before the first day of the calendar: give 2026-01-31, 12h or 7d") from error
    except ValueError as error:
        raise UsageError(f"{given!r} is no time: give 2026-01-31, 2026-01-31T13:00, 12h or 7d") from error
