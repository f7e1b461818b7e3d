"""One scheduler leads: by a session's advisory lock on PostgreSQL, by a file's lock beside a SQLite database.

Both end with the process that holds them, however it ends.
"""

import fcntl
from typing import IO

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from db.engine import Database, translated

_LOCK_KEY = 0x6C65616473  # "leads"


class Leadership:
    """Whether this process leads; asked again and again, it takes over where the leader is gone."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._file: IO[bytes] | None = None
        self._connection: Connection | None = None

    def held(self) -> bool:
        """Whether this process leads now; tries to, where nobody does.

        Raises:
            DatabaseUnavailable: the database cannot be asked.
        """
        return self._held_by_file() if self._database.is_sqlite else self._held_by_session()

    def resign(self) -> None:
        """Let another lead."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None

    def _held_by_file(self) -> bool:
        if self._file is not None:
            return True
        file = self._database.file
        lock = file.with_name(f"{file.name}.leader").open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        self._file = lock
        return True

    def _held_by_session(self) -> bool:
        if self._connection is not None:
            try:
                self._connection.execute(text("SELECT 1"))
            except SQLAlchemyError:
                self.resign()  # the session is gone, and the lock with it
            else:
                return True
        with translated():
            connection = self._database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            if connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK_KEY}):
                self._connection = connection
                return True
            connection.close()
            return False
