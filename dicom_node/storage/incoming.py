"""The writing side of the archive: a draft grows as its bytes arrive, is synced, then published with others."""

import fcntl
import mmap
import os
import shutil
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from typing import Final

from dicom_node.storage.archive import LOCK_NAME, Archive, FileMeta
from dicom_node.storage.block_file import BlockFile, Blocks

__all__ = ["HEAD_BYTES", "Draft", "Incoming", "StagedFile"]

HEAD_BYTES = 65_536
"""As much of a data set is kept in memory while it is written: the header, of nearly every image."""
_REMEMBERED_FOLDERS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedFile:
    """An instance whose bytes are on disk under a temporary name (None: they already lie under the final one)."""

    temporary: str | None
    path: str
    size_bytes: int


class Draft:
    """A file that is being written; it ends as a staged file, or as nothing."""

    def __init__(self, archive: Archive, temporary: str, meta: FileMeta, blocks: Blocks) -> None:
        self._archive: Final = archive
        self._temporary: Final = temporary
        self.head = bytearray()
        """The data set's first bytes, `HEAD_BYTES` or a little more of them."""
        self.encoded_bytes = 0
        """Of the data set, so far."""
        file_meta = meta.encode()
        self._meta_bytes: Final = len(file_meta)
        self._file: Final = BlockFile(temporary, blocks, file_meta)

    def write(self, parts: Sequence[memoryview]) -> None:
        """Append to the data set.

        Raises:
            OSError: the disk refused.
        """
        for part in parts:
            self.encoded_bytes += len(part)
            if len(self.head) < HEAD_BYTES:
                self.head += part[:HEAD_BYTES]
        self._file.append(parts)

    @property
    def digest(self) -> str:
        """The SHA-256 of the data set, in hexadecimal."""
        return self._file.digest()

    @property
    def folder(self) -> str:
        """Where it is being written, for what else is only needed meanwhile."""
        return os.path.dirname(self._temporary)

    @contextmanager
    def encoded(self) -> Generator[memoryview]:
        """The data set's bytes, mapped and not loaded.

        Raises:
            OSError: the disk refused.
        """
        self._file.write_out()
        if not self.encoded_bytes:
            yield memoryview(b"")
            return
        with (
            mmap.mmap(self._file.descriptor, 0, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as whole,
            whole[self._meta_bytes :] as encoded,
        ):
            yield encoded

    def finish(self, path: str) -> StagedFile:
        """Sync it, unless the same bytes are archived under that path already.

        Raises:
            OSError: the disk refused; nothing is left behind.
        """
        size = self._archive.holds(path, self.encoded_bytes)
        if size is not None:
            self.discard()
            return StagedFile(temporary=None, path=path, size_bytes=size)
        try:
            self._file.sync()
            self._file.close()
        except OSError:
            self.discard()
            raise
        return StagedFile(temporary=self._temporary, path=path, size_bytes=self._file.size_bytes)

    def discard(self) -> None:
        """Leave nothing behind."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            os.unlink(self._temporary)


class Incoming:
    """The writing side of one process: drafts, then publish (many files at once, one call for a folder at a time)."""

    def __init__(self, archive: Archive, receiver_id: str) -> None:
        self._archive = archive
        self.folder = archive.root / "incoming" / receiver_id
        with archive.incoming_locked():
            self.folder.mkdir(parents=True)
            self._lock = os.open(self.folder / LOCK_NAME, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._numbers = count()
        self._blocks = Blocks()
        self._root = str(archive.root)
        self._drafts = str(self.folder)
        self._ready_folders: set[str] = set()

    def draft(self, meta: FileMeta) -> Draft:
        """Begin a file under a temporary name of its own.

        Raises:
            OSError: the disk refused.
        """
        return Draft(self._archive, f"{self._drafts}/{next(self._numbers)}.part", meta, self._blocks)

    def publish(self, staged: Sequence[StagedFile]) -> list[OSError | None]:
        """Give files their final names and sync each folder once; for each file, the error that kept it from that.

        A file whose error is None survives a power cut from here on.
        """
        outcomes: list[OSError | None] = [self._rename(file) for file in staged]
        folders = {self._folder(file) for file, error in zip(staged, outcomes, strict=True) if error is None}
        unsynced = {folder: error for folder in folders if (error := _try_sync(folder)) is not None}
        return [error or unsynced.get(self._folder(file)) for file, error in zip(staged, outcomes, strict=True)]

    @staticmethod
    def discard(staged: StagedFile) -> None:
        """Forget a staged file that will not be published."""
        if staged.temporary is not None:
            with suppress(FileNotFoundError):
                os.unlink(staged.temporary)

    def close(self) -> None:
        """Leave nothing behind and let the lock go."""
        with suppress(OSError), self._archive.incoming_locked():  # the disk may be gone; the next start sweeps
            shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)

    def _folder(self, file: StagedFile) -> str:
        return f"{self._root}/{file.path.rpartition('/')[0]}"

    def _rename(self, file: StagedFile) -> OSError | None:
        folder = self._folder(file)
        try:
            if folder not in self._ready_folders:
                self._make_ready(folder)
            final = f"{self._root}/{file.path}"
            if file.temporary is None:
                os.stat(final)  # retention may have removed it since: then it has to be sent again
            else:
                try:
                    os.rename(file.temporary, final)
                except FileNotFoundError:  # retention removed the series' folder in between
                    self._make_ready(folder)
                    os.rename(file.temporary, final)
        except OSError as error:
            with suppress(OSError):
                self.discard(file)
            return error
        return None

    def _make_ready(self, folder: str) -> None:
        """Create a series' folder and sync the folders above it, once a receiver's life."""
        os.makedirs(folder, exist_ok=True)
        for parent in (folder.rpartition("/")[0], self._root):
            _sync_folder(parent)
        if len(self._ready_folders) >= _REMEMBERED_FOLDERS:
            self._ready_folders.clear()
        self._ready_folders.add(folder)


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _try_sync(folder: str) -> OSError | None:
    try:
        _sync_folder(folder)
    except OSError as error:
        return error
    return None
