"""The engine: transactions that mean what they say on SQLite and PostgreSQL, the schema's version, backups.

SQLite: WAL with ``synchronous=FULL``, so that a commit that returned is on the disk; writers begin with BEGIN
IMMEDIATE, so that a transaction never loses its lock half-way. Only ``upgrade`` makes a file; no connection outlives
the file that it opened, so that nothing is written where nobody would look for it. Times are aware and in UTC on both.
"""

import json
import os
import shlex
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    DisconnectionError,
    InterfaceError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.orm import Session

from db.errors import BackupRefused, DatabaseUnavailable, SchemaOutOfDate, SchemaTooNew, StoreError

__all__ = ["HEAD", "Database", "backup", "current_revision", "open_engine", "translated", "upgrade"]

HEAD = "0022"
"""The schema's version that this code was made for: Alembic's head. Versions are compared as texts."""

BUSY_TIMEOUT_S = 30
CACHED_STATEMENTS = 32
"""Prepared statements that a SQLite connection keeps. An INSERT of many rows is another statement for every number of
rows, of 100 kB and more: the 128 of Python's default grow to 15 MB a connection in a receiver's life."""
_FINITE_JSON = partial(json.dumps, allow_nan=False)
"""NaN and infinity are no JSON: PostgreSQL refuses them, and SQLite would keep what no reader takes."""
_IMMEDIATE = "lungsentry_immediate"
_FILE = "lungsentry_file"
_UPGRADE_LOCK = 0x6C756E67  # "lung": no other program is likely to take this advisory lock


def open_engine(url: str, *, create: bool = False) -> Engine:
    """An engine whose transactions are explicit; nothing is connected yet. ``create``: make a SQLite file if need be.

    Raises:
        StoreError: the URL names no database that is supported.
    """
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
        if backend == "postgresql":
            engine = create_engine(
                parsed.set(drivername="postgresql+psycopg"),
                pool_pre_ping=True,
                hide_parameters=True,
                pool_size=8,
                json_serializer=_FINITE_JSON,
            )
        elif backend == "sqlite" and parsed.database not in (None, "", ":memory:"):
            engine = create_engine(
                parsed.set(drivername="sqlite+pysqlite"),
                hide_parameters=True,
                pool_pre_ping=True,
                json_serializer=_FINITE_JSON,
            )
            file = Path(parsed.database or "").absolute()
            event.listen(engine, "do_connect", partial(_connect_sqlite, file, create))
            event.listen(engine, "checkout", partial(_check_file, file))
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
        else:
            raise StoreError("Only PostgreSQL and SQLite files are supported.")
    except (ArgumentError, ImportError) as error:
        raise StoreError("The database's URL cannot be used.") from error
    return engine


def _connect_sqlite(file: Path, create: bool, _dialect: object, record: Any, *_arguments: object) -> sqlite3.Connection:
    record.info[_FILE] = _identity(file)  # before it is opened: whatever takes its place meanwhile is noticed
    return sqlite3.connect(
        f"{file.as_uri()}?mode={'rwc' if create else 'rw'}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        check_same_thread=False,
        cached_statements=CACHED_STATEMENTS,
    )


def _check_file(file: Path, _connection: object, record: Any, _proxy: object) -> None:
    """Have a connection replaced whose file was deleted, moved away or exchanged since it was opened."""
    if record.info[_FILE] != _identity(file):
        raise DisconnectionError


def _identity(file: Path) -> tuple[int, int] | None:
    """What tells a file from another of its name; None where there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself: _begin_sqlite does
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    immediate = connection.get_execution_options().get(_IMMEDIATE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


@contextmanager
def translated() -> Generator[None]:
    """Turn the driver's errors into the store's; their text, which may quote values, is not taken over."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise DatabaseUnavailable(f"({type(error.orig).__name__})") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise DatabaseUnavailable(f"({type(error.orig).__name__})") from error
        raise StoreError(f"({type(error.orig).__name__})") from error
    except SQLAlchemyError as error:
        raise StoreError(f"({type(error).__name__})") from error


class Database:
    """Sessions on one engine: to read, or to write."""

    def __init__(self, url: str) -> None:
        self.engine = open_engine(url)
        self._writing = self.engine.execution_options(**{_IMMEDIATE: True})

    @property
    def is_sqlite(self) -> bool:
        """Whether state is held in a SQLite file."""
        return self.engine.dialect.name == "sqlite"

    @property
    def file(self) -> Path:
        """The SQLite file."""
        return Path(self.engine.url.database or "")

    @contextmanager
    def read(self) -> Generator[Session]:
        """A consistent look; nothing is written.

        Raises:
            DatabaseUnavailable: it cannot be reached.
        """
        with translated(), Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Generator[Session]:
        """One transaction: all of it, or, after an exception, nothing.

        Raises:
            DatabaseUnavailable: it cannot be reached, or stayed locked.
        """
        with translated(), Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def current_revision(url: str) -> str | None:
    """The version of the database's schema; None where it has none yet."""
    engine = open_engine(url)
    try:
        return _revision(engine)
    finally:
        engine.dispose()


def _revision(engine: Engine) -> str | None:
    if engine.dialect.name == "sqlite" and not Path(engine.url.database or "").exists():
        return None
    with translated(), engine.connect() as connection:
        return revision_of(connection)


def revision_of(connection: Connection) -> str | None:
    """The schema's version as Alembic wrote it down."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.scalar(text("SELECT version_num FROM alembic_version"))


def check_schema(engine: Engine) -> None:
    """Nothing, where this code works with the schema: its own, or a newer one that only added to it.

    Raises:
        SchemaOutOfDate: it is older, or there is none.
        SchemaTooNew: it is newer, and older processes do not work with it.
        DatabaseUnavailable: the database cannot be reached.
    """
    found = _revision(engine)
    if found is None or found < HEAD:
        raise SchemaOutOfDate(f"It is {found or 'empty'}, this version needs {HEAD}.")
    if found > HEAD and (floor := oldest_at_work(engine)) > HEAD:
        raise SchemaTooNew(f"It is {found}, for {floor} and later; this version is made for {HEAD}.")


def oldest_at_work(engine: Engine) -> str:
    """The oldest version of the schema whose code works with the present one."""
    with translated(), engine.connect() as connection:
        return str(connection.scalar(text("SELECT revision FROM schema_floor")))


def upgrade(url: str) -> bool:
    """Bring the schema to this version, in one transaction; several processes at once do it once.

    Whether processes that were made for the schema as it was go on with it as it is: a migration that does more than
    add what they need not know raises the floor.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "db:migrations")
    engine = open_engine(url, create=True)
    try:
        with translated(), engine.execution_options(**{_IMMEDIATE: True}).begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
            found = revision_of(connection)
            if found is None or found < HEAD:  # a newer one stays
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        return found is None or oldest_at_work(engine) <= found
    finally:
        engine.dispose()


def backup(url: str, path: Path) -> None:
    """Copy a SQLite database, consistent and while others write; the copy appears whole or not at all.

    Once this returns the copy survives a power cut.

    Raises:
        BackupRefused: it is a PostgreSQL database (the message names the pg_dump command), or there is none to copy.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        command = ["pg_dump", "--format=custom", f"--file={path}", f"--dbname={parsed.database or ''}"]
        command += [f"--host={parsed.host}"] if parsed.host else []
        command += [f"--port={parsed.port}"] if parsed.port else []
        command += [f"--username={parsed.username}"] if parsed.username else []
        raise BackupRefused(f"PostgreSQL is copied by its own tool: {shlex.join(command)}")
    source_file = Path(parsed.database or "")
    if not source_file.is_file():
        raise BackupRefused(f"There is no database at {source_file}.")
    if path.exists():
        raise BackupRefused(f"{path} exists.")
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(source_file)) as source, closing(sqlite3.connect(unfinished)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
        _sync(unfinished)
        unfinished.replace(path)
        _sync(path.parent)
    except sqlite3.Error as error:
        raise DatabaseUnavailable(f"({type(error).__name__})") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Wait until the disk has the file, or the folder's entries."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
