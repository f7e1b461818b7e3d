"""Files of results that no row refers to: of runs that were refused, lapsed or cut off before they were recorded."""

from collections.abc import Iterator
from functools import partial
from itertools import cycle

import structlog

from db import Store
from dicom_node.storage.artefacts import ArtefactFolder
from dicom_node.sweep import Unit

__all__ = ["Unreferred"]

_LOG = structlog.stdlib.get_logger()

SHARDS = tuple(f"{number:02x}" for number in range(256))


class Unreferred:
    """The sweep that removes them: one of 256 folders at each look, so that no look costs what all files cost."""

    def __init__(self, *, store: Store, folder: ArtefactFolder) -> None:
        self._store = store
        self._folder = folder
        self._shards = cycle(SHARDS)

    def units(self) -> Iterator[Unit]:
        """One unit: the next folder."""
        shard = next(self._shards)
        yield Unit(identity=shard, run=partial(self._remove, shard))

    def _remove(self, shard: str) -> None:
        removed = self._folder.remove_unreferred(shard, self._store.artefacts.referred)
        if removed:
            _LOG.info("artefacts.removed", files=removed)
