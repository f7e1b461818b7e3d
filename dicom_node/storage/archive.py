"""The archive: instances as files, under names that no UID can steer, durable before anybody hears of them.

::

    archive/
      incoming/<receiver>/         what is being written, and a second name of what has no row in the index yet;
                                   `owner.lock` is held while its receiver lives
      ab/<series>/<instance>-<content>.dcm

``series``, ``instance`` and ``content`` are the first 32 hexadecimal digits of the SHA-256 of the Series Instance
UID, the SOP Instance UID and the encoded data set. The same bytes so have the same name, other bytes of the same
instance lie beside them, and a name never leaves the archive. The file meta names who sent the instance to whom, so
that its index row can be rebuilt.
"""

import fcntl
import hashlib
import mmap
import os
import shutil
import struct
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from analysis.errors import ReasonedError
from dicom_node.network.contexts import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

__all__ = ["LOCK_NAME", "Archive", "ArchivedFile", "FileMeta", "InUse", "content_digest", "mapped"]

_PREAMBLE = b"\0" * 128 + b"DICM"
_META_GROUP_LENGTH = struct.Struct("<HH2sHI")
_DIGITS = 32
LOCK_NAME = "owner.lock"
"""Held by the receiver whose incoming folder it lies in, as long as it lives."""


_READ_BYTES = 1 << 20


class InUse(ReasonedError):
    """Something of the series was archived just now, or is not indexed yet."""


def content_digest(encoded: bytes | memoryview) -> str:
    """The SHA-256 of an encoded data set, in hexadecimal: what makes two sendings of one instance the same."""
    return hashlib.sha256(encoded).hexdigest()


@contextmanager
def mapped(descriptor: int, start: int) -> Generator[memoryview]:
    """A file's bytes from ``start`` on, mapped and not loaded.

    Raises:
        OSError: the disk refused.
    """
    with (
        mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as whole,
        memoryview(whole) as view,
        view[start:] as rest,
    ):
        yield rest


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
    """An archived instance: its group 0002, without the preamble, and the data set's bytes as they were received."""

    meta: bytes = field(repr=False)
    encoded: memoryview = field(repr=False)
    size_bytes: int
    modified_at: float


class Archive:
    """Where instances lie: names, reading, removing, free space, and what dead receivers left."""

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

    @contextmanager
    def opened(self, path: str | PurePosixPath) -> Generator[ArchivedFile]:
        """An instance, mapped and not loaded.

        Raises:
            OSError: it cannot be read.
            ValueError: the file was not written by this archive.
        """
        with self.absolute(path).open("rb") as file:
            meta, stat = _read_meta(file), os.fstat(file.fileno())
            with mapped(file.fileno(), file.tell()) as encoded:
                yield ArchivedFile(meta=meta, encoded=encoded, size_bytes=stat.st_size, modified_at=stat.st_mtime)

    def digest(self, path: str | PurePosixPath) -> str:
        """The SHA-256 of an archived data set; it is read in parts, so that a large one takes no memory.

        Raises:
            OSError: it cannot be read.
            ValueError: the file was not written by this archive.
        """
        with self.absolute(path).open("rb") as file:
            _read_meta(file)
            digest, part = hashlib.sha256(), memoryview(bytearray(_READ_BYTES))
            while count := file.readinto(part):
                digest.update(part[:count])
            return digest.hexdigest()

    def publishing(self, folder: str) -> AbstractContextManager[None]:
        """Nothing is removed from that series' folder meanwhile; others may publish there, too."""
        return self._locked(folder, fcntl.LOCK_SH)

    def remove(self, paths: Sequence[str], *, spare_after: float) -> None:
        """Unlink files, none of any series that has to stay, and the folders that are empty then.

        What was written after ``spare_after`` (seconds since 1970) stays: a sender was told that it is safe. So does
        what has no row yet, whatever the clock says: it has a second name under ``incoming`` until then.

        Raises:
            InUse: something is to stay, or somebody publishes there now.
        """
        (self.root / "incoming").mkdir(parents=True, exist_ok=True)
        for folder, names in groupby(sorted(paths), key=lambda path: path.rpartition("/")[0]):
            with self._locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
                there = [file for name in names if (file := self.absolute(name)).exists()]
                unindexed = self._unindexed()
                if any((stat := file.stat()).st_mtime > spare_after or stat.st_ino in unindexed for file in there):
                    raise InUse
                for file in there:
                    file.unlink()
                with suppress(OSError):  # it is not empty, or gone already
                    self.absolute(folder).rmdir()

    def _unindexed(self) -> set[int]:
        """The inodes of what is on its way to a final name or to its row."""
        return {
            entry.inode()
            for folder in (self.root / "incoming").iterdir()
            if folder.is_dir()
            for entry in os.scandir(folder)
        }

    @contextmanager
    def _locked(self, folder: str, how: int) -> Generator[None]:
        """One lock serves the 256th of the archive that the folder lies in."""
        shard = folder.partition("/")[0]
        descriptor = os.open(f"{self.root}/incoming/.{shard}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, how)
            except BlockingIOError as error:
                raise InUse from error
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def incoming_locked(self) -> Generator[None]:
        """Nobody else makes or takes over an incoming folder: one that is new and not yet locked is not dead."""
        incoming = self.root / "incoming"
        incoming.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(incoming / ".folders.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def abandoned(self) -> Iterator[Path]:
        """The incoming folders whose receiver is dead; each is the caller's, under its lock, until it asks on."""
        incoming = self.root / "incoming"
        for folder in sorted(incoming.iterdir()) if incoming.is_dir() else ():
            if not folder.is_dir():
                continue
            with self.incoming_locked():
                descriptor = _take_over(folder / LOCK_NAME)
            if descriptor is None:
                continue
            try:
                yield folder
            finally:
                os.close(descriptor)


def _read_meta(file: BinaryIO) -> bytes:
    """Group 0002; the file is read up to the data set."""
    head = file.read(len(_PREAMBLE) + _META_GROUP_LENGTH.size)
    if len(head) < len(_PREAMBLE) + _META_GROUP_LENGTH.size or not head.startswith(_PREAMBLE):
        raise ValueError("no file meta information")
    return file.read(_META_GROUP_LENGTH.unpack_from(head, len(_PREAMBLE))[4])


def _take_over(lock: Path) -> int | None:
    """The lock's descriptor, held; None where a living receiver holds it, or has just cleared its folder."""
    try:
        descriptor = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
