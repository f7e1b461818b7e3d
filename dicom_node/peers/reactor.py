"""Keeps pynetdicom's reactor from a sender's replies.

An association has a thread, its reactor, that looks for requests of the peer, and is stopped while a request of ours
waits for its reply. In pynetdicom 3.0 the look that is under way when a request begins may still take the reply: it is
dropped as unexpected, and the sender waits until it times out. Who sends many objects meets that sooner or later, the
sooner the busier the machine. So the reactor is stopped once, for all requests of an association. This uses names that
pynetdicom keeps to itself (3.0.x; pyproject.toml pins it).
"""

import time
from collections.abc import Generator
from contextlib import contextmanager

from pynetdicom.association import Association

__all__ = ["held_reactor", "is_open"]

_OPEN_STATE = "Sta6"  # PS3.8 section 9.2: association established, ready for data transfer
_LOOK_ENDS_WITHIN_S = 0.05  # a look takes about 1 ms
_POLL_S = 0.001


class _Stopped:
    """Stands where the reactor's gate was: whatever a request does to it, the gate stays closed."""

    def set(self) -> None:
        """Stay closed."""

    def clear(self) -> None:
        """Be closed already."""


@contextmanager
def held_reactor(association: Association) -> Generator[None]:
    """Send requests within this block; the peer's release or abort is answered when it ends."""
    gate = association._reactor_checkpoint  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    gate.clear()
    settled = time.monotonic() + _LOOK_ENDS_WITHIN_S
    while association.is_established and (
        time.monotonic() < settled or not association._is_paused  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    ):
        time.sleep(_POLL_S)
    association._reactor_checkpoint = _Stopped()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    try:
        yield
    finally:
        association._reactor_checkpoint = gate  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        gate.set()


def is_open(association: Association) -> bool:
    """Whether the association still carries requests; also true to the fact while its reactor is held."""
    return bool(association.is_established and association.dul.state_machine.current_state == _OPEN_STATE)
