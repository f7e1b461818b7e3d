"""Files of an archive, taken as the receiver takes what is sent: checked, durable, indexed, each content once.

Files are DICOM files of PS3.10: a preamble, a file meta information, a data set, which is archived as it stands.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from dicom_node.network.contexts import STORAGE_SOP_CLASSES
from dicom_node.network.dataset_check import walk_dataset, walk_elements
from dicom_node.network.errors import UnparsableDataset
from dicom_node.network.protocol import StoreCommand
from dicom_node.retrieval.archiving import Taker

__all__ = ["Imported", "files_below", "import_files"]

_PREFIX, _GROUP_LENGTH_BYTES = b"DICM", 12
_PREAMBLE_BYTES = 128
_CLASS, _INSTANCE, _SYNTAX = 0x00020002, 0x00020003, 0x00020010
_OWN_CLASS, _OWN_INSTANCE = 0x00080016, 0x00080018
_SUCCESS, _WARNINGS = 0x0000, range(0xB000, 0xC000)
_WHY = {
    0xA700: "the disk is under its watermark, or the index cannot be written: make room, then import again",
    0xA900: "its UIDs or its SOP class contradict its file meta information, or one is missing",
    0xC210: "its data set cannot be read to its end",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What became of a file: why it was left, or None where it is in the archive. ``other`` is no CT, PET or NM."""

    path: Path
    reason: str | None = None
    other: bool = False


def files_below(paths: Iterable[Path]) -> Iterator[Path]:
    """The files, and all that lie below the folders, in the order of their names; of a DICOMDIR those beside it.

    Links to folders are not followed, so that none is gone through twice. A folder that cannot be read stands for
    itself. A folder's entries are held in memory while it is gone through, and no more.
    """
    for path in paths:
        top = path.parent if _is_media_directory(path.name) and path.is_file() else path
        if not top.is_dir():
            yield top
            continue
        unread: list[OSError] = []
        for folder, names, files in os.walk(top, onerror=unread.append):
            names.sort()
            yield from (Path(folder, name) for name in sorted(files) if not _is_media_directory(name))
        yield from (Path(error.filename) for error in unread)


def _is_media_directory(name: str) -> bool:
    return name.upper() == "DICOMDIR"


def import_files(files: Iterable[Path], take: Taker, *, max_instance_bytes: int) -> Iterator[Imported]:
    """Have each archived; what cannot be is told, and stops none of the others. One file is held in memory.

    Whatever is archived already, of an earlier import or from a scanner, is taken once more and changes nothing: an
    import that was broken off is simply begun anew.
    """
    for path in files:
        try:
            if reason := _untaken(path, max_instance_bytes):
                yield Imported(path=path, reason=reason)
                continue
            content = path.read_bytes()
        except OSError as error:
            yield Imported(path=path, reason=error.strerror or "it cannot be read")
            continue
        read = _parsed(content, max_instance_bytes)
        if isinstance(read, str):
            yield Imported(path=path, reason=read)
            continue
        command, encoded = read
        if command.sop_class_uid not in STORAGE_SOP_CLASSES:
            yield Imported(path=path, other=True)
            continue
        status = take(command, encoded)
        taken = status == _SUCCESS or status in _WARNINGS
        yield Imported(path=path, reason=None if taken else _WHY.get(status, f"status {status:#06x}"))


def _untaken(path: Path, max_instance_bytes: int) -> str | None:
    """Why the file is not even opened: a pipe would be waited for without end."""
    found = path.stat()
    if S_ISDIR(found.st_mode):
        return "the folder cannot be read"
    if not S_ISREG(found.st_mode):
        return "it is no regular file"
    return "it is larger than receiver.max_instance_bytes" if found.st_size > max_instance_bytes else None


def _parsed(content: bytes, max_instance_bytes: int) -> tuple[StoreCommand, bytes] | str:
    """The command that would send the file, and its data set; or why there is none."""
    begin = _PREAMBLE_BYTES + len(_PREFIX)
    if content[_PREAMBLE_BYTES:begin] != _PREFIX:
        return "it is no DICOM file: it has no preamble and file meta information (PS3.10 section 7.1)"
    length = int.from_bytes(content[begin + 8 : begin + _GROUP_LENGTH_BYTES], "little")
    end = begin + _GROUP_LENGTH_BYTES + length
    try:
        meta = walk_elements(content[begin:end], explicit=True, wanted=frozenset({_CLASS, _INSTANCE, _SYNTAX}))
    except UnparsableDataset:
        return "its file meta information cannot be read"
    encoded, syntax = content[end:], meta.text(_SYNTAX)
    sop_class, instance = meta.text(_CLASS), meta.text(_INSTANCE)
    if not (sop_class and instance):  # what is left out there stands in the data set
        try:
            wanted = frozenset({_OWN_CLASS, _OWN_INSTANCE})
            own = walk_dataset(encoded, syntax, wanted=wanted, max_inflated_bytes=max_instance_bytes)
        except UnparsableDataset:
            return _WHY[0xC210]
        sop_class, instance = sop_class or own.text(_OWN_CLASS), instance or own.text(_OWN_INSTANCE)
    command = StoreCommand(
        sop_class_uid=sop_class,
        sop_instance_uid=instance,
        context_sop_class_uid=sop_class,
        transfer_syntax_uid=syntax,
    )
    return command, encoded
