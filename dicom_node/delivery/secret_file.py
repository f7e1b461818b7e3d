"""Secrets stand in files of their own, and are read when they are used: a changed one is taken up at once."""

from pathlib import Path

from dicom_node.delivery.errors import NotAdmitted

__all__ = ["secrets_of"]

_MOST_BYTES = 4096


def secrets_of(file: Path) -> tuple[str, ...]:
    """The lines of the file that are not empty, of which there is one at least.

    Raises:
        NotAdmitted: it cannot be read, or is empty; what stands in it is not told.
    """
    try:
        with file.open(encoding="utf-8") as text:
            lines = text.read(_MOST_BYTES).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise NotAdmitted(f"{file} cannot be read.") from error
    found = tuple(line.strip() for line in lines if line.strip())
    if not found:
        raise NotAdmitted(f"{file} is empty.")
    return found
