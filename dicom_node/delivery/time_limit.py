"""A limit for a whole exchange, beside that of each step: who answers a byte at a time holds nobody for ever."""

import contextlib
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

__all__ = ["STEPS", "time_limit"]

STEPS = 10
"""An exchange may take so many times what one of its steps may."""


@contextmanager
def time_limit(connection: Callable[[], socket.socket | None], limit_s: float) -> Generator[None]:
    """Past the limit the connection is shut, and whoever waits for it fails as if the peer had gone."""

    def shut() -> None:
        held = connection()
        if held is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(held, socket.SHUT_RDWR)  # not the TLS layer's, which another thread is reading

    timer = threading.Timer(limit_s, shut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
