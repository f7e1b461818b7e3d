"""A channel takes files of results to one destination, in whatever way it is reached."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

__all__ = ["Channel", "Parcel", "Receipt"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """What goes: the file of an artefact, and its SOP Instance UID if it is a DICOM object.

    ``absent`` are the SOP Instance UIDs of what belongs to the same result and is not at the destination.
    """

    delivery_id: int
    path: Path
    sop_instance_uid: str | None
    absent: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the destination answered to what it took, in the words of its protocol; ``warning``: it took it with one."""

    answer: str
    warning: bool = False


class Channel(Protocol):
    """One destination."""

    def deliver(self, parcel: Parcel) -> Receipt:
        """Take the parcel there, and return once the destination has confirmed it.

        Raises:
            DeliveryError: it did not arrive; the error says whether another attempt may succeed.
        """
        ...

    def check(self) -> str:
        """Ask whether the destination would answer, without giving it anything; what it said.

        Raises:
            DeliveryError: it would not.
        """
        ...
