"""The writing side of the archive: a draft grows as its bytes arrive, is synced, then published with others.

An entry of the incoming folder lives until its instance has a row: the folder is the journal of what has none.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from typing import Final

from dicom_node.storage.archive import LOCK_NAME, Archive, FileMeta, mapped
from dicom_node.storage.block_file import BlockFile, Blocks

__all__ = ["HEAD_BYTES", "Draft", "Incoming", "StagedFile"]

HEAD_BYTES = 65_536
"""As much of a data set is kept in memory while it is written: the header, of nearly every image."""
_REMEMBERED_FOLDERS = 4096
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedFile:
    """An instance whose bytes are on the disk.

    Its ``entry`` in the incoming folder becomes its first name, and stays beside its final one until its row is in the
    index: the entries that a dead receiver left are what has no row.
    """

    entry: str
    path: str
    size_bytes: int
    made_at_ns: int
    """When the entry was there (CLOCK_MONOTONIC)."""


class Draft:
    """A file that is being written; it ends as a staged file, or as nothing."""

    def __init__(self, entry: str, meta: FileMeta, blocks: Blocks) -> None:
        self._entry: Final = entry
        self.head = bytearray()
        """The data set's first bytes, `HEAD_BYTES` or a little more of them."""
        self.encoded_bytes = 0
        """Of the data set, so far."""
        file_meta = meta.encode()
        self._meta_bytes: Final = len(file_meta)
        self._file: Final = BlockFile(entry, blocks, file_meta)
        self._made_at_ns: Final = time.monotonic_ns()

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
        return os.path.dirname(self._entry)

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
        with mapped(self._file.descriptor, self._meta_bytes) as encoded:
            yield encoded

    def finish(self, path: str) -> StagedFile:
        """Sync it.

        Raises:
            OSError: the disk refused; nothing is left behind.
        """
        try:
            self._file.sync()
            self._file.close()
        except OSError:
            self.discard()
            raise
        return StagedFile(entry=self._entry, path=path, size_bytes=self._file.size_bytes, made_at_ns=self._made_at_ns)

    def discard(self) -> None:
        """Leave nothing behind."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            os.unlink(self._entry)


class Incoming:
    """The writing side of one process: drafts, final names for many of them at once, and what is not indexed yet."""

    def __init__(self, archive: Archive, receiver_id: str) -> None:
        self._archive = archive
        self.folder = archive.root / "incoming" / receiver_id
        with archive.incoming_locked():
            self.folder.mkdir(parents=True)
            self._lock = os.open(self.folder / LOCK_NAME, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        sync_folder(str(self.folder.parent))
        self._numbers = count()
        self._blocks = Blocks()
        self._root = str(archive.root)
        self._entries = str(self.folder)
        self._known_folders: dict[str, int] = {}
        self._synced_at_ns = 0
        """What was an entry by then is one after a power cut too."""

    def draft(self, meta: FileMeta) -> Draft:
        """Begin a file under an entry of its own.

        Raises:
            OSError: the disk refused.
        """
        return Draft(f"{self._entries}/{next(self._numbers)}.part", meta, self._blocks)

    def publish(self, folder: str, staged: Sequence[StagedFile]) -> list[OSError | None]:
        """Give files of one series their final names, and sync; for each file, the error that kept it from that.

        A file whose error is None survives a power cut from here on, and so does its entry.
        """
        outcomes: list[OSError | None] = [None] * len(staged)
        try:
            with self._archive.publishing(folder):
                descriptor = self._open(folder)
                try:
                    outcomes = [_link(file, descriptor) for file in staged]
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            self._sync_entries(staged)
        except OSError as error:
            outcomes = [outcome or error for outcome in outcomes]
        self.forget(file.entry for file, error in zip(staged, outcomes, strict=True) if error is not None)
        return outcomes

    @staticmethod
    def forget(entries: Iterable[str]) -> None:
        """What lay there has its row, or will not be published."""
        for entry in entries:
            with suppress(OSError):
                os.unlink(entry)

    def close(self) -> None:
        """Let the lock go; what has no row yet stays for `recovery`."""
        with suppress(OSError), self._archive.incoming_locked():  # the disk may be gone
            if os.listdir(self._entries) == [LOCK_NAME]:
                shutil.rmtree(self.folder)
        os.close(self._lock)

    def _sync_entries(self, staged: Sequence[StagedFile]) -> None:
        """Sync the entries, where no other series' sync did since they were made: they came with their first byte."""
        if all(file.made_at_ns < self._synced_at_ns for file in staged):
            return
        begun_at_ns = time.monotonic_ns()
        sync_folder(self._entries)
        self._synced_at_ns = max(self._synced_at_ns, begun_at_ns)

    def _open(self, folder: str) -> int:
        """A series' folder; where it is new to this process, the folders above it are synced."""
        whole = f"{self._root}/{folder}"
        try:
            descriptor = os.open(whole, _FOLDER)
        except FileNotFoundError:  # the series is new, or was removed
            os.makedirs(whole, 0o750, exist_ok=True)
            descriptor = os.open(whole, _FOLDER)
        inode = os.fstat(descriptor).st_ino
        if self._known_folders.get(folder) != inode:
            try:
                for parent in (whole.rpartition("/")[0], self._root):
                    sync_folder(parent)
            except OSError:
                os.close(descriptor)
                raise
            if len(self._known_folders) >= _REMEMBERED_FOLDERS:
                self._known_folders.clear()
            self._known_folders[folder] = inode
        return descriptor


def _link(file: StagedFile, folder: int) -> OSError | None:
    """Give it its final name. What lies there is replaced: it was sent again, and may have been damaged since."""
    name = file.path.rpartition("/")[2]
    try:
        try:
            os.link(file.entry, name, dst_dir_fd=folder)
        except FileExistsError:
            os.link(file.entry, f"{file.entry}.again")
            os.rename(f"{file.entry}.again", name, dst_dir_fd=folder)
    except OSError as error:
        return error
    return None


def sync_folder(folder: str) -> None:
    """Have a folder's entries on the disk.

    Raises:
        OSError: the disk refused.
    """
    descriptor = os.open(folder, _FOLDER)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
