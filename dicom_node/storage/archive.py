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
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from dicom_node.network.contexts import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

__all__ = ["LOCK_NAME", "Abandoned", "Archive", "ArchivedFile", "FileMeta", "content_digest"]

_PREAMBLE = b"\0" * 128 + b"DICM"
_META_GROUP_LENGTH = struct.Struct("<HH2sHI")
_DIGITS = 32
LOCK_NAME = "owner.lock"
"""Held by the receiver whose incoming folder it lies in, as long as it lives."""


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
    def relative_path(*, series_instance_uid: str, sop_instance_uid: str, digest: str) -> str:
        """Where an instance lies below the root (POSIX). UIDs go through SHA-256, so none can name a path."""
        series, instance = (
            hashlib.sha256(uid.encode()).hexdigest()[:_DIGITS] for uid in (series_instance_uid, sop_instance_uid)
        )
        return f"{series[:2]}/{series}/{instance}-{digest[:_DIGITS]}.dcm"

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
            if len(shard.name) == 2 and shard.is_dir():
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

    def holds(self, path: str, encoded_bytes: int) -> int | None:
        """The size of the file that holds these bytes already, and whole; None without one.

        Names hold the content's digest, so the data set's length decides.
        """
        try:
            descriptor = os.open(f"{self.root}/{path}", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            head = os.pread(descriptor, len(_PREAMBLE) + _META_GROUP_LENGTH.size, 0)
            size = os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
        if len(head) < len(_PREAMBLE) + _META_GROUP_LENGTH.size:
            return None
        meta_bytes = _META_GROUP_LENGTH.unpack_from(head, len(_PREAMBLE))[4]
        return size if size == len(head) + meta_bytes + encoded_bytes else None

    @contextmanager
    def incoming_locked(self) -> Generator[None]:
        """Nobody else makes or sweeps an incoming folder meanwhile: one that is new and not yet locked is not dead."""
        incoming = self.root / "incoming"
        incoming.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(incoming / ".folders.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def abandoned(self) -> tuple[Abandoned, ...]:
        """The incoming folders whose receiver is dead: nobody holds their lock. Ask within `incoming_locked`."""
        incoming = self.root / "incoming"
        if not incoming.is_dir():
            return ()
        return tuple(
            Abandoned(
                receiver_id=folder.name,
                folder=folder,
                temporary_files=sum(1 for entry in folder.iterdir() if entry.name != LOCK_NAME),
            )
            for folder in sorted(incoming.iterdir())
            if folder.is_dir() and not _is_held(folder / LOCK_NAME)
        )

    def remove_abandoned(self, abandoned: Abandoned) -> None:
        """Remove a dead receiver's temporary files: none of them was ever acknowledged."""
        shutil.rmtree(abandoned.folder, ignore_errors=True)


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
