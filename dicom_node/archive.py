"""The archive: instances as files, under names that no UID can steer, durable before anybody hears of them.

::

    archive/
      incoming/<receiver>/         what is being written; `owner.lock` is held while its receiver lives
      ab/<series>/<instance>-<content>.dcm

``series``, ``instance`` and ``content`` are the first 32 hexadecimal digits of the SHA-256 of the Series Instance
UID, the SOP Instance UID and the encoded data set. The same bytes so have the same name, other bytes of the same
instance lie beside them, and a name never leaves the archive. The file meta names who sent the instance to whom, so
that its index row can be rebuilt.
"""

import fcntl
import hashlib
import os
import shutil
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path, PurePosixPath

__all__ = ["Abandoned", "Archive", "ArchivedFile", "FileMeta", "Incoming", "StagedFile", "content_digest"]

IMPLEMENTATION_CLASS_UID = "2.25.204925041234768571914520138716422503437"
IMPLEMENTATION_VERSION_NAME = "LUNGSENTRY_0_1"

_PREAMBLE = b"\0" * 128 + b"DICM"
_META_GROUP_LENGTH = struct.Struct("<HH2sHI")
_DIGITS = 32
_LOCK_NAME = "owner.lock"
_REMEMBERED_FOLDERS = 4096


def content_digest(encoded: bytes) -> str:
    """The SHA-256 of an encoded data set, in hexadecimal: what makes two sendings of one instance the same."""
    return hashlib.sha256(encoded).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMeta:
    """The file meta information that the node writes before the bytes it received (PS3.10 section 7.1)."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_ae_title: str
    called_ae_title: str

    def encode(self) -> bytes:
        """Preamble, prefix and group 0002 in Explicit VR Little Endian.

        Written by hand because a UID that does not conform is kept as it came, which pydicom's writer refuses.
        """
        group = b"".join(
            (
                struct.pack("<HH2sHI", 0x0002, 0x0001, b"OB", 0, 2) + b"\0\1",
                _element(0x0002, b"UI", self.sop_class_uid),
                _element(0x0003, b"UI", self.sop_instance_uid),
                _element(0x0010, b"UI", self.transfer_syntax_uid),
                _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
                _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
                _element(0x0016, b"AE", self.calling_ae_title),
                _element(0x0017, b"AE", self.calling_ae_title),
                _element(0x0018, b"AE", self.called_ae_title),
            ),
        )
        return _PREAMBLE + _META_GROUP_LENGTH.pack(0x0002, 0x0000, b"UL", 4, len(group)) + group


def _element(element: int, vr: bytes, text: str) -> bytes:
    value = text.encode("latin-1")
    value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
    return struct.pack("<HH2sH", 0x0002, element, vr, len(value)) + value


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedFile:
    """An instance whose bytes are on disk under a temporary name (None: they already lie under the final one)."""

    temporary: Path | None
    path: PurePosixPath
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedFile:
    """An instance read back: its group 0002, without the preamble, and the data set's bytes as they were received."""

    meta: bytes = field(repr=False)
    encoded: bytes = field(repr=False)
    size_bytes: int
    modified_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Abandoned:
    """What a receiver left that ended without clearing its incoming folder."""

    receiver_id: str
    folder: Path
    temporary_files: int


class Archive:
    """Where instances lie: names, reading, free space, and what dead receivers left."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @staticmethod
    def relative_path(*, series_instance_uid: str, sop_instance_uid: str, digest: str) -> PurePosixPath:
        """Where an instance lies below the root. UIDs go through SHA-256, so none can name a path."""
        series, instance = (
            hashlib.sha256(uid.encode()).hexdigest()[:_DIGITS] for uid in (series_instance_uid, sop_instance_uid)
        )
        return PurePosixPath(series[:2], series, f"{instance}-{digest[:_DIGITS]}.dcm")

    def absolute(self, path: str | PurePosixPath) -> Path:
        """The file that a row's path names."""
        return self.root / path

    def free_bytes(self) -> int:
        """Space left for unprivileged writers on the archive's file system."""
        return shutil.disk_usage(self.root).free

    def series_folders(self) -> Iterator[Path]:
        """Every series' folder; one directory listing per 256th of the archive, nothing is opened."""
        if not self.root.is_dir():
            return
        for shard in sorted(self.root.iterdir()):
            if len(shard.name) == 2 and shard.is_dir():  # noqa: PLR2004 - two hexadecimal digits
                yield from sorted(folder for folder in shard.iterdir() if folder.is_dir())

    def read(self, path: str | PurePosixPath) -> ArchivedFile:
        """Read an instance back whole.

        Raises:
            ValueError: the file was not written by this archive.
        """
        with self.absolute(path).open("rb") as file:
            head = file.read(len(_PREAMBLE) + _META_GROUP_LENGTH.size)
            if len(head) < len(_PREAMBLE) + _META_GROUP_LENGTH.size or not head.startswith(_PREAMBLE):
                raise ValueError("no file meta information")
            length = _META_GROUP_LENGTH.unpack_from(head, len(_PREAMBLE))[4]
            stat = os.fstat(file.fileno())
            return ArchivedFile(
                meta=file.read(length), encoded=file.read(), size_bytes=stat.st_size, modified_at=stat.st_mtime
            )

    def abandoned(self) -> tuple[Abandoned, ...]:
        """The incoming folders whose receiver is dead: nobody holds their lock."""
        incoming = self.root / "incoming"
        if not incoming.is_dir():
            return ()
        return tuple(
            Abandoned(
                receiver_id=folder.name,
                folder=folder,
                temporary_files=sum(1 for entry in folder.iterdir() if entry.name != _LOCK_NAME),
            )
            for folder in sorted(incoming.iterdir())
            if folder.is_dir() and not _is_held(folder / _LOCK_NAME)
        )

    def remove_abandoned(self, abandoned: Abandoned) -> None:
        """Remove a dead receiver's temporary files: none of them was ever acknowledged."""
        shutil.rmtree(abandoned.folder, ignore_errors=True)


class Incoming:
    """The writing side of one receiver: stage (many threads), then publish (one thread, many files at once)."""

    def __init__(self, archive: Archive, receiver_id: str) -> None:
        self._archive = archive
        self.folder = archive.root / "incoming" / receiver_id
        self.folder.mkdir(parents=True)
        self._lock = os.open(self.folder / _LOCK_NAME, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._numbers = count()
        self._ready_folders: set[Path] = set()

    def stage(self, meta: FileMeta, encoded: bytes, path: PurePosixPath) -> StagedFile:
        """Write and sync the instance under a temporary name of its own; not at all if it is already archived.

        Raises:
            OSError: the disk refused; nothing is left behind.
        """
        head = meta.encode()
        size = len(head) + len(encoded)
        if self._is_archived(path, len(encoded)):
            return StagedFile(temporary=None, path=path, size_bytes=self._archive.absolute(path).stat().st_size)
        temporary = self.folder / f"{next(self._numbers)}.part"
        try:
            with temporary.open("xb", buffering=0) as file:
                _write_all(file.fileno(), (head, encoded))
                os.fdatasync(file.fileno())
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        return StagedFile(temporary=temporary, path=path, size_bytes=size)

    def publish(self, staged: Sequence[StagedFile]) -> list[OSError | None]:
        """Give files their final names and sync each folder once; for each file, the error that kept it from that.

        A file whose error is None survives a power cut from here on.
        """
        outcomes: list[OSError | None] = [self._rename(file) for file in staged]
        folders = {self._folder(file) for file, error in zip(staged, outcomes, strict=True) if error is None}
        unsynced = {folder: error for folder in folders if (error := _try_sync(folder)) is not None}
        return [error or unsynced.get(self._folder(file)) for file, error in zip(staged, outcomes, strict=True)]

    def discard(self, staged: StagedFile) -> None:
        """Forget a staged file that will not be published."""
        if staged.temporary is not None:
            staged.temporary.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave nothing behind and let the lock go."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)

    def _folder(self, file: StagedFile) -> Path:
        return self._archive.absolute(file.path).parent

    def _is_archived(self, path: PurePosixPath, encoded_bytes: int) -> bool:
        """The same bytes lie there already, and whole: names hold the content's digest, so the size decides."""
        try:
            with self._archive.absolute(path).open("rb") as file:
                head = file.read(len(_PREAMBLE) + _META_GROUP_LENGTH.size)
                size = os.fstat(file.fileno()).st_size
        except FileNotFoundError:
            return False
        if len(head) < len(_PREAMBLE) + _META_GROUP_LENGTH.size:
            return False
        return size == len(head) + _META_GROUP_LENGTH.unpack_from(head, len(_PREAMBLE))[4] + encoded_bytes

    def _rename(self, file: StagedFile) -> OSError | None:
        folder = self._folder(file)
        try:
            if folder not in self._ready_folders:
                self._make_ready(folder)
            if file.temporary is not None:
                try:
                    file.temporary.replace(self._archive.absolute(file.path))
                except FileNotFoundError:  # retention removed the series' folder in between
                    self._make_ready(folder)
                    file.temporary.replace(self._archive.absolute(file.path))
        except OSError as error:
            with suppress(OSError):
                self.discard(file)
            return error
        return None

    def _make_ready(self, folder: Path) -> None:
        """Create a series' folder and sync the folders above it, once a receiver's life."""
        folder.mkdir(parents=True, exist_ok=True)
        for parent in (folder.parent, self._archive.root):
            _sync_folder(parent)
        if len(self._ready_folders) >= _REMEMBERED_FOLDERS:
            self._ready_folders.clear()
        self._ready_folders.add(folder)


def _write_all(descriptor: int, parts: Iterable[bytes]) -> None:
    for part in parts:
        view = memoryview(part)
        while view:
            view = view[os.write(descriptor, view) :]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _try_sync(folder: Path) -> OSError | None:
    try:
        _sync_folder(folder)
    except OSError as error:
        return error
    return None


def _is_held(lock: Path) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
