"""Each process of the node writes down every few seconds that it lives: `status` can then tell one that does not."""

import os
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager

import structlog

from db import Store, StoreError
from dicom_node.logs import cause_of

__all__ = ["beating"]

_LOG = structlog.stdlib.get_logger()

EVERY_S = 10.0


@contextmanager
def beating(database_url: str, role: str) -> Generator[None]:
    """Within this block the process is known to live; at its end it is forgotten. A database may be away."""
    over = threading.Event()
    thread = threading.Thread(target=_beat, args=(database_url, role, over), name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(EVERY_S)


def _beat(database_url: str, role: str, over: threading.Event) -> None:
    host, pid = socket.gethostname(), os.getpid()
    told = False
    while True:
        try:
            with Store.open(database_url) as store:
                store.heartbeats.remove_dead(host, _lives)
                while not over.is_set():
                    store.heartbeats.beat(role, host=host, pid=pid)
                    told = False
                    over.wait(EVERY_S)
                store.heartbeats.remove(role, host=host, pid=pid)
        except StoreError as error:
            if not told:
                _LOG.warning("heartbeat.unwritten", cause=cause_of(error))
            told = True
        if over.wait(EVERY_S):
            return


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
