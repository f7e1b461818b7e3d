"""One run of the command: its global options, and the settings and the store they lead to, opened when first asked."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    import typer

    from db import Store
    from dicom_node.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """The global options of one run."""

    config_file: Path | None = None
    verbosity: int = 0

    @staticmethod
    def of(ctx: typer.Context) -> Invocation:
        """The invocation that a command belongs to."""
        found = ctx.find_object(Invocation)
        return found if found is not None else Invocation()

    def settings(self) -> Settings:
        """The settings in force.

        Raises:
            SettingsError: names the field and what would do.
        """
        from dicom_node.settings import load

        return load(self.config_file)

    def configure_logs(self, role: str = "cli") -> None:
        """Log to standard error as far as ``-v`` asks: not at all, what is done, with ``-vv`` all of it."""
        from dicom_node import logs
        from dicom_node.settings import Logging

        level = ("ERROR", "INFO", "DEBUG")[min(self.verbosity, 2)]
        logs.configure(Logging.model_validate({"level": level}), role=role)
        if not self.verbosity:  # what went wrong is told in one line by the command itself
            for handler in logging.getLogger().handlers:
                handler.setLevel(logging.CRITICAL)

    @contextmanager
    def store(self) -> Generator[Store, None, None]:
        """The store of the node that the settings describe; closed afterwards.

        Raises:
            SchemaOutOfDate: the database must be upgraded first.
            DatabaseUnavailable: the server does not answer.
        """
        with open_store(self.settings()) as store:
            yield store


@contextmanager
def open_store(settings: Settings) -> Generator[Store, None, None]:
    """The store that the settings name; a missing SQLite file is an error, never a new empty database.

    Raises:
        NotThereError: the file is missing; the message says what makes it.
    """
    from db import Store
    from dicom_node.cli.failures import NotThereError

    if is_sqlite(settings) and not (file := sqlite_file(settings)).exists():
        raise NotThereError(
            f"there is no database at {file}: start the node with `lungsentry serve`, create it with "
            "`lungsentry db upgrade`, or name the node's settings with --config"
        )
    store = Store.open(settings.database_url)
    try:
        yield store
    finally:
        store.close()


def is_sqlite(settings: Settings) -> bool:
    """Whether state is held in a SQLite file."""
    return settings.database_url.startswith("sqlite")


def sqlite_file(settings: Settings) -> Path:
    """The SQLite file of settings for which ``is_sqlite`` holds."""
    from pathlib import Path

    from sqlalchemy import make_url

    return Path(make_url(settings.database_url).database or "")
