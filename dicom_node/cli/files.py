"""Files named on the command line, and those below the folders that are named."""

from collections.abc import Sequence
from pathlib import Path

from dicom_node.cli.failures import UsageError


def files_below(paths: Sequence[Path]) -> list[Path]:
    """The files given and all files below the folders given, in the order of their names; links are followed once.

    Raises:
        UsageError: something that was named does not exist, or there is no file at all.
    """
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise UsageError(f"there is no file or folder {path}")
        files += sorted(child for child in path.rglob("*") if child.is_file()) if path.is_dir() else [path]
    if not files:
        raise UsageError(f"there is no file in {', '.join(str(path) for path in paths)}")
    return files
