"""Who leads: one process at a time, by a lock that ends with the process that holds it."""

import contextlib
import fcntl
import os
import threading
import zlib
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from db.engine import Database, translated

__all__ = ["Leadership"]


class Leadership:
    """An advisory lock on PostgreSQL; on SQLite, which is one machine, a locked file beside the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._mutex = threading.Lock()
        self._files: dict[str, int] = {}
        self._connections: dict[str, Connection] = {}

    def try_acquire(self, name: str = "scheduler") -> bool:
        """Whether this store leads; asked again, whether it still does. Never waits.

        Raises:
            DatabaseUnavailable: it cannot be reached: nobody knows, so this store does not lead.
        """
        with self._mutex:
            return self._try_file(name) if self._database.is_sqlite else self._try_advisory(name)

    def release(self) -> None:
        """Lead no more."""
        with self._mutex:
            for descriptor in self._files.values():
                os.close(descriptor)
            for connection in self._connections.values():
                connection.close()
            self._files.clear()
            self._connections.clear()

    def _try_file(self, name: str) -> bool:
        if name in self._files:
            return True
        file = self._database.file
        descriptor = os.open(Path(f"{file}.{name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._files[name] = descriptor
        return True

    def _try_advisory(self, name: str) -> bool:
        held = self._connections.get(name)
        if held is not None:
            with contextlib.suppress(DBAPIError):
                held.execute(text("SELECT 1"))
                return True
            del self._connections[name]  # the session is gone, and the lock with it
            held.invalidate()
            held.close()
        with translated():
            connection = self._database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            connection.detach()
            key = {"key": zlib.crc32(f"lungsentry.{name}".encode())}
            if connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), key):
                self._connections[name] = connection
                return True
            connection.close()
        return False
