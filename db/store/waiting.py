"""Waiting for the queue without asking it: LISTEN on PostgreSQL, the file's data version on SQLite."""

import threading
import time
from typing import Any

from db.engine import Database, translated
from db.errors import DatabaseUnavailable
from db.store.room import JOB_CHANNEL

__all__ = ["Waiter"]

_LOOK_EVERY_S = 0.02


class Waiter:
    """Keeps one connection of its own, so that nothing that happens between two waits is missed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._mutex = threading.Lock()
        self._driver: Any = None
        self._version: int | None = None

    def wait(self, timeout_s: float) -> bool:
        """True once something was committed that may concern the queue, False after ``timeout_s``."""
        with self._mutex:
            try:
                with translated():
                    if self._database.is_sqlite:
                        return self._wait_sqlite(timeout_s)
                    return self._wait_postgresql(timeout_s)
            except DatabaseUnavailable:
                self._drop()
                raise

    def close(self) -> None:
        """Give the connection back."""
        with self._mutex:
            self._drop()

    def _wait_sqlite(self, timeout_s: float) -> bool:
        driver, _ = self._own()
        ends = time.monotonic() + timeout_s
        while True:
            version = int(driver.execute("PRAGMA data_version").fetchone()[0])
            if version != self._version:
                self._version = version
                return True
            left = ends - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(_LOOK_EVERY_S, left))

    def _wait_postgresql(self, timeout_s: float) -> bool:
        import psycopg

        raw, fresh = self._own()
        try:
            if fresh:
                raw.autocommit = True
                raw.execute(f"LISTEN {JOB_CHANNEL}")
                return True  # what came before we listened is looked for now
            return any(True for _ in raw.notifies(timeout=timeout_s, stop_after=1))
        except psycopg.Error as error:
            raise DatabaseUnavailable(f"({type(error).__name__})") from error

    def _own(self) -> tuple[Any, bool]:
        """The driver's own connection, never handed to another, and whether it is new."""
        if self._driver is not None:
            return self._driver, False
        pooled = self._database.engine.raw_connection()
        self._driver = pooled.driver_connection
        pooled.detach()
        self._version = None
        return self._driver, True

    def _drop(self) -> None:
        if self._driver is not None:
            self._driver.close()
            self._driver = None
