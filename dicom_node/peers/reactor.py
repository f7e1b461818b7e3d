"""Keeps pynetdicom's reactor from a sender's replies.

An association has a thread, its reactor, that looks for requests of the peer, and is stopped while a request of ours
waits for its reply. In pynetdicom 3.0 the look that is under way when a request begins may still take the reply: it is
dropped as unexpected, and the sender waits until it times out. Who sends many objects meets that sooner or later, the
sooner the busier the machine. So the reactor never begins to look. This uses names that pynetdicom keeps to itself
(3.0.x; pyproject.toml pins it).
"""

import threading
from typing import Any

from pynetdicom import evt
from pynetdicom.association import Association

__all__ = ["hold", "is_open", "let_go"]

_OPEN_STATE = "Sta6"  # PS3.8 section 9.2: association established, ready for data transfer


class _Gate:
    """Stands where the reactor's own gate is: whatever a request does to it, it stays closed until let go."""

    def __init__(self) -> None:
        self._gone = threading.Event()

    def set(self) -> None:
        """Stay closed."""

    def clear(self) -> None:
        """Be closed already."""

    def wait(self, timeout: float | None = None) -> bool:
        """Hold the reactor."""
        return self._gone.wait(timeout)

    def let_go(self) -> None:
        """The association is over: the reactor may find out."""
        self._gone.set()


def hold(event: evt.Event) -> None:
    """The handler of EVT_ESTABLISHED, which comes before the reactor starts. What the peer asks for is not served."""
    association: Any = event.assoc
    association._reactor_checkpoint = _Gate()  # noqa: SLF001
    association._serve_request = lambda *_: association.abort(block=False)  # noqa: SLF001


def let_go(association: Association) -> None:
    """Let the thread of an association that is over come to its end."""
    gate: Any = association._reactor_checkpoint  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    if isinstance(gate, _Gate):
        gate.let_go()


def is_open(association: Association) -> bool:
    """Whether the association still carries requests; `is_established` is not told of its end by a held reactor."""
    return bool(association.is_established and association.dul.state_machine.current_state == _OPEN_STATE)
