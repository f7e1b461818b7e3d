"""UIDs as people type and read them: shortened to an end that tells them apart, found again from either end."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from dicom_node.cli.failures import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from db import Store

_Found = TypeVar("_Found")

_LEAST_SHOWN = 10
_MOST_NAMED = 5
_ELLIPSIS = "…"


def resolve_uid(given: str, find: Callable[[str, int], Sequence[str]], what: str) -> str:
    """The one UID that is ``given``, or ends or begins with it; ``what`` names its kind in the error.

    ``find`` gives, of the UIDs that fit a text, so many in order; where one is the text, only that.

    Raises:
        CommandError: no UID, or more than one, fits.
    """
    typed = given.strip().strip(_ELLIPSIS).removeprefix("...").removesuffix("...")
    fitting = find(typed, _MOST_NAMED + 1) if typed else ()
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise CommandError(f"there is no {what} {given}; `lungsentry {_LISTING[what]} list` shows what there is")
    more = " and more" if len(fitting) > _MOST_NAMED else ""
    raise CommandError(f"{given} fits several UIDs; give more of it: {', '.join(fitting[:_MOST_NAMED])}{more}")


def resolve_study(store: Store, given: str) -> str:
    """The one study of the store that ``given`` names; see ``resolve_uid``."""
    return resolve_uid(given, store.studies.find, "study")


def resolve_series(store: Store, given: str) -> str:
    """The one series of the store that ``given`` names; see ``resolve_uid``."""
    return resolve_uid(given, store.series.find, "series")


_LISTING = {"study": "studies", "series": "series"}


def shortened(uids: Collection[str]) -> dict[str, str]:
    """Each UID by the shortest end, of at least ten characters, that tells all of these apart."""
    distinct = frozenset(uids)
    longest = max((len(uid) for uid in distinct), default=0)
    length = _LEAST_SHOWN
    while length < longest and len({uid[-length:] for uid in distinct}) < len(distinct):
        length += 1
    return {uid: uid if len(uid) <= length + 1 else _ELLIPSIS + uid[-length:] for uid in distinct}


def still_known(found: _Found | None, uid: str) -> _Found:
    """What was looked up under a UID that the store knew a moment ago."""
    if found is None:
        raise CommandError(f"{uid} is not known any more")
    return found
