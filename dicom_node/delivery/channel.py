"""Channels: each takes what is to be delivered to one destination, in whatever way it is reached."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from alerts.artefact import Reference
from alerts.message import Message

__all__ = ["Channel", "MessageChannel", "ObjectChannel", "Parcel", "Receipt"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """What goes: the file of an artefact, and its SOP Instance UID if it is a DICOM object."""

    delivery_id: int
    path: Path
    sop_instance_uid: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the destination answered to what it took, in the words of its protocol; ``warning``: it took it with one.

    ``sent_as``: the object that went in place of the artefact.
    """

    answer: str
    warning: bool = False
    sent_as: Reference | None = None


@runtime_checkable
class ObjectChannel(Protocol):
    """A destination that takes files of results."""

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


@runtime_checkable
class MessageChannel(Protocol):
    """A destination that is told of flagged examinations. ``most_together``: so many messages go in one letter."""

    @property
    def most_together(self) -> int:
        """How many messages may go in one letter."""
        ...

    def tell(self, key: str, messages: Sequence[Message]) -> Receipt:
        """Tell them, and return once the destination has confirmed it. ``key`` is the same whenever they are sent.

        Raises:
            DeliveryError: they did not arrive; the error says whether another attempt may succeed.
        """
        ...

    def check(self) -> str:
        """As ``ObjectChannel.check``."""
        ...


Channel = ObjectChannel | MessageChannel
