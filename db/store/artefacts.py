"""Files of results."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import select

from db.rows import ArtefactRow
from db.store.room import Room

__all__ = ["Artefacts"]

_BATCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefacts(Room):
    """What rows refer to."""

    def referred(self, paths: Collection[str]) -> set[str]:
        """Those of the paths that some result refers to; each costs one look-up."""
        asked = sorted(paths)
        found: set[str] = set()
        with self.database.read() as session:
            for first in range(0, len(asked), _BATCH):
                batch = asked[first : first + _BATCH]
                found.update(session.scalars(select(ArtefactRow.path).where(ArtefactRow.path.in_(batch))))
        return found
