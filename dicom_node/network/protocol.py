"""The seam between the network and the node: who is there, what was asked, and what the node does with it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

__all__ = [
    "AssociationInfo",
    "Limits",
    "Message",
    "MessageService",
    "Reception",
    "Service",
    "Slots",
    "StoreCommand",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one peer may take: seconds, and bytes."""

    acse_timeout_s: float
    pdu_timeout_s: float
    network_timeout_s: float
    max_pdu_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationInfo:
    """Who is on the other end."""

    association_id: str
    calling_ae_title: str
    called_ae_title: str
    address: str

    @property
    def titles(self) -> dict[str, str]:
        """Who calls whom from where, as logs and rules name them."""
        return {"calling": self.calling_ae_title, "called": self.called_ae_title, "address": self.address}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCommand:
    """A C-STORE request's command: its UIDs as the peer wrote them, and those of its presentation context."""

    sop_class_uid: str
    sop_instance_uid: str
    context_sop_class_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A DIMSE message as it came: its command set (Implicit VR Little Endian), and its data set's bytes."""

    context_id: int
    transfer_syntax_uid: str
    command: bytes = field(repr=False)
    dataset: bytes = field(repr=False)


class Reception(Protocol):
    """One data set on its way in. `finish`, then `conclude`, or `abandon` is called, once."""

    def write(self, parts: Sequence[memoryview]) -> None:
        """Take the next bytes; they are not the node's any more after the call.

        Raises:
            InstanceTooLarge: the association is to be aborted.
        """
        ...

    def finish(self) -> int:
        """The data set is complete: the status of the reply."""
        ...

    def conclude(self) -> None:
        """The reply is on its way, or could not be sent: do what it need not have waited for."""
        ...

    def abandon(self) -> None:
        """The association broke off before the data set's end."""
        ...


class Service(Protocol):
    """What the node does with associations and requests; the network knows no more of it."""

    def admit(self, info: AssociationInfo) -> tuple[int, int, int] | None:
        """None to accept, or result, source and diagnostic of the rejection."""
        ...

    def refused(self, reason: str, *, address: str, calling: str = "", called: str = "") -> None:
        """Somebody was turned away before, or after, that: the protocol forbids it, or there is no room."""
        ...

    def begin(self, info: AssociationInfo, command: StoreCommand) -> Reception:
        """An instance is about to come. What is already known to be wrong with it is told by `Reception.finish`."""
        ...

    def settle(self, info: AssociationInfo) -> None:
        """The peer asks for release: finish what it need not have waited for until now."""
        ...

    def ended(self, info: AssociationInfo, *, released: bool) -> None:
        """The association is over, and no request of it is running; ``released``: its peer asked for that."""
        ...


class MessageService(Protocol):
    """What serves the messages of an abstract syntax other than storage and verification, each whole."""

    def serve(self, info: AssociationInfo, message: Message, send: Callable[[bytes], None]) -> None:
        """Serve one message; ``send`` takes PDUs for the peer, and its errors are the association's end."""
        ...

    def ended(self, info: AssociationInfo) -> None:
        """The association is over."""
        ...


class Slots(Protocol):
    """Where connections are counted, over all processes."""

    def judge(self, number: int) -> None:
        """The connection's request is being judged."""
        ...

    def turn_down(self, number: int) -> None:
        """The request was turned down; where there are many of these, the oldest is closed."""
        ...

    def enter(self, number: int, calling_ae_title: str) -> bool:
        """The connection of an admitted peer asks for an association: is there room?"""
        ...

    def leave(self, number: int) -> None:
        """The connection is over."""
        ...
