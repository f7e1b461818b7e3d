"""Files that survive a power cut, or are not there."""

import os
from pathlib import Path
from uuid import uuid4

from alerts.errors import ReportNotWritten


def write_durably(content: bytes, out: Path) -> None:
    """``out`` holds ``content`` on disk, or what it held before: temporary name, sync, rename, sync of the folder.

    ``ReportNotWritten`` (transient) where the disk refuses.
    """
    temporary = out.with_name(f".{out.name}.{uuid4().hex}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(out)
        finally:
            temporary.unlink(missing_ok=True)
        _sync(out.parent)
    except OSError as cause:
        raise ReportNotWritten(cause.strerror or "") from cause


def synced_folder(folder: Path) -> None:
    """The folder is there, and its name is on disk; ``ReportNotWritten`` (transient) where the disk refuses."""
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            _sync(folder.parent)
    except OSError as cause:
        raise ReportNotWritten(cause.strerror or "") from cause


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
