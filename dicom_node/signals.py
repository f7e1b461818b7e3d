"""Signals that end a process, heard in whichever thread the system hands them to."""

import signal
import socket
import threading

__all__ = ["stop_on"]

_WAKING_BYTES = 64


def stop_on(*numbers: signal.Signals) -> threading.Event:
    """An event that the first of these signals sets. To be called in the main thread.

    Python runs a handler in the main thread, once that thread runs. One that sleeps on a lock is not woken where the
    system hands the signal to another thread, and the process would be killed for not ending. The interpreter's wake-up
    descriptor is written in the thread that got the signal, and a thread of ours listens to it.
    """
    stop = threading.Event()
    heard, told = socket.socketpair()
    told.setblocking(False)
    signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    for number in numbers:
        signal.signal(number, lambda _number, _frame: None)
    threading.Thread(target=_listen, args=(heard, told, frozenset(numbers), stop), name="signals", daemon=True).start()
    return stop


def _listen(heard: socket.socket, told: socket.socket, numbers: frozenset[int], stop: threading.Event) -> None:
    """Set the event at every signal that is one of these; ``told`` is held here, or its descriptor would be closed."""
    with heard, told:
        while signalled := heard.recv(_WAKING_BYTES):  # a byte a signal: its number
            if numbers.intersection(signalled):
                stop.set()
