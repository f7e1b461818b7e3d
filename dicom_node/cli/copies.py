"""A copy of the node's state in one file: the SQLite database and the installed models, which its rows name."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_node.cli.failures import CommandError
from dicom_node.cli.invocation import is_sqlite, sqlite_file

if TYPE_CHECKING:
    from dicom_node.settings import Settings

__all__ = ["pack", "unpack"]

_DATABASE, _MODELS = "database.sqlite3", "models"


def pack(settings: Settings, file: Path) -> None:
    """Write the copy; it appears whole or not at all, and survives a power cut.

    Raises:
        CommandError: the file is there already, or the database is PostgreSQL's: the message says what copies it.
        BackupRefused: there is no database.
    """
    import db

    if file.exists():
        raise CommandError(f"{file} exists; name a new file")
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".backup-") as folder:
        copy, unfinished = Path(folder, _DATABASE), Path(folder, file.name + ".part")
        try:
            db.backup(settings.database_url, copy)
        except db.BackupRefused as error:
            if is_sqlite(settings):
                raise
            raise CommandError(f"{error} Copy {settings.models_dir} as well: the installed models") from error
        with tarfile.open(unfinished, "w") as archive:
            archive.add(copy, _DATABASE)
            if settings.models_dir.is_dir():
                archive.add(settings.models_dir, _MODELS)
        with unfinished.open("rb") as written:
            os.fsync(written.fileno())
        unfinished.replace(file)


def unpack(settings: Settings, file: Path) -> None:
    """Put database and models of a copy in place, where there are none, and bring the schema to this version.

    Raises:
        CommandError: there is a database or a model already, or the file is no copy of a node.
    """
    import db

    if not is_sqlite(settings):
        raise CommandError(f"PostgreSQL is restored by pg_restore; put the models back into {settings.models_dir}")
    database, models = sqlite_file(settings), settings.models_dir
    if database.exists() or (models.is_dir() and any(models.iterdir())):
        raise CommandError(f"there is a database at {database}, or a model in {models}: move them away first")
    database.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=database.parent, prefix=".restore-") as folder:
        try:
            with tarfile.open(file) as archive:
                archive.extractall(folder, filter="data")
        except tarfile.TarError as error:
            raise CommandError(f"{file} is no backup of a node, or is damaged") from error
        if not Path(folder, _DATABASE).is_file():
            raise CommandError(f"{file} is no backup of a node: it holds no database")
        if Path(folder, _MODELS).is_dir():
            models.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(models, ignore_errors=True)  # empty, as was seen
            shutil.move(Path(folder, _MODELS), models)
        shutil.move(Path(folder, _DATABASE), database)
    db.upgrade(settings.database_url)
