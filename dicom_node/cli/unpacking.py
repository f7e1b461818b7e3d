"""Zip archives named on the command line, unpacked beside the folders for as long as a command needs them."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_node.cli.failures import UsageError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

_MOST_FILES = 200_000
_KEPT_FREE = 2**30
"""Bytes of the disk that unpacking leaves free."""


@contextmanager
def unpacked(paths: Sequence[Path]) -> Generator[list[Path]]:
    """The paths, with a folder of its own in place of every zip archive; removed again at the end.

    Raises:
        UsageError: an archive is broken, encrypted, or holds more than the disk.
    """
    if not any(_is_archive(path) for path in paths):
        yield list(paths)
        return
    with tempfile.TemporaryDirectory(prefix="lungsentry-") as folder:
        yield [
            _unpack(path, Path(folder) / str(number)) if _is_archive(path) else path
            for number, path in enumerate(paths)
        ]


def _is_archive(path: Path) -> bool:
    return path.is_file() and zipfile.is_zipfile(path)


def _unpack(archive: Path, folder: Path) -> Path:
    folder.mkdir()
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            size = sum(member.file_size for member in members)
            if len(members) > _MOST_FILES or size > shutil.disk_usage(folder).free - _KEPT_FREE:
                raise UsageError(
                    f"{archive} holds {len(members)} files of {size / 2**30:.1f} GiB, too many for the disk"
                )
            for member in members:
                opened.extract(member, folder)  # names that lead out of the folder are brought back into it
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, zlib.error, OSError) as error:
        raise UsageError(f"{archive} cannot be unpacked: {error}; unpack it yourself and name the folder") from error
    return folder
