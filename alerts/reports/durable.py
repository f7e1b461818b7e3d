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
        folder = os.open(out.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as cause:
        raise ReportNotWritten(cause.strerror or "") from cause
