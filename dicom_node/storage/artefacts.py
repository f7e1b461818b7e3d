"""The folder of results: files named by the hash of their content, in two levels of folders, written once."""

import os
import re
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path

from alerts.artefact import Artefact, Draft
from alerts.reports.durable import synced_folder, write_durably

__all__ = ["ArtefactFolder"]

YOUNG_S = 86_400.0
"""A file this young may be of a result that is about to be recorded."""
_NAME = re.compile(r"[0-9a-f]{64}\.[a-z]+")
_ASIDE = ".removing-"


class ArtefactFolder:
    """Puts files, and removes those that nothing refers to.

    Who puts a file that is there touches it first, and who removes one sets it aside first and looks at its time then:
    so a file that is put while it is being removed stays, or is written anew.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, draft: Draft) -> Artefact:
        """The file lies durably in the folder; one that is there already is left as it is.

        Raises:
            ReportNotWritten: the disk refuses (transient).
        """
        artefact = draft.artefact()
        path = self._folder / artefact.path
        try:
            os.utime(path)
        except FileNotFoundError:
            for folder in (path.parent.parent, path.parent):
                synced_folder(folder)
            write_durably(draft.content, path)
        return artefact

    def remove_unreferred(self, shard: str, are_referred: Callable[[Collection[str]], set[str]]) -> int:
        """Remove the old files of a folder of the first level that ``are_referred`` does not name; how many."""
        for aside in tuple((self._folder / shard).glob(f"[0-9a-f][0-9a-f]/{_ASIDE}*")):
            _put_back(aside)
        old = [path for path in self._files(shard) if _is_old(path)]
        names = [path.relative_to(self._folder).as_posix() for path in old]
        referred = are_referred(names) if names else set[str]()
        return sum(_removed(path) for path, name in zip(old, names, strict=True) if name not in referred)

    def _files(self, shard: str) -> Iterator[Path]:
        for path in (self._folder / shard).glob("[0-9a-f][0-9a-f]/*"):
            if _NAME.fullmatch(path.name):
                yield path


def _put_back(aside: Path) -> None:
    """What a crash left set aside is judged anew; one that was put anew since is young, and stays as it is."""
    with suppress(FileExistsError):
        os.link(aside, aside.with_name(aside.name.removeprefix(_ASIDE)))
    aside.unlink()


def _is_old(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > YOUNG_S
    except FileNotFoundError:
        return False


def _removed(path: Path) -> bool:
    aside = path.with_name(_ASIDE + path.name)
    path.rename(aside)
    if not _is_old(aside):  # put meanwhile
        aside.rename(path)
        return False
    aside.unlink()
    return True
