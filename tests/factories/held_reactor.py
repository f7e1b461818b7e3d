"""A test's own sender over pynetdicom: its reactor is stopped for a block (`peers.reactor` tells why)."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from pynetdicom.association import Association

_LOOK_ENDS_WITHIN_S = 0.05  # a look takes about 1 ms
_POLL_S = 0.001


class _Stopped:
    def set(self) -> None:
        """Stay closed."""

    def clear(self) -> None:
        """Be closed already."""


@contextmanager
def held_reactor(association: Association) -> Iterator[None]:
    """Send requests within this block; the peer's release or abort is answered when it ends."""
    gate = association._reactor_checkpoint
    gate.clear()
    settled = time.monotonic() + _LOOK_ENDS_WITHIN_S
    while association.is_established and (time.monotonic() < settled or not association._is_paused):
        time.sleep(_POLL_S)
    association._reactor_checkpoint = _Stopped()  # type: ignore[assignment]
    try:
        yield
    finally:
        association._reactor_checkpoint = gate
        gate.set()
