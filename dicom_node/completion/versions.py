"""Instances that came again in other bytes: compared by what they show, so that another encoding is no revision.

A PACS that sends in another transfer syntax, a gateway that writes lengths anew, a fetch of what is here already: the
newest version is kept, and nothing is analysed or reported again. What shows something else makes a new revision, and
so does what cannot be compared.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import structlog

from analysis.series import show_the_same
from db import ResentVersion, Store
from dicom_node.sweep import Unit

__all__ = ["ResentVersions"]

_LOG = structlog.stdlib.get_logger()

AT_ONCE = 16
"""Versions of one series that are compared before others have their turn: about two seconds of decoding."""


class ResentVersions:
    """The sweep that compares them; each comparison is counted before it begins, as a file may end the process."""

    def __init__(self, *, store: Store, archive_dir: Path) -> None:
        self._store = store
        self._archive_dir = archive_dir

    def units(self) -> Iterator[Unit]:
        """One unit for each series that versions came of."""
        for uid in self._store.versions.resent_series():
            yield Unit(identity=uid, run=partial(self._compare, uid))

    def _compare(self, series_instance_uid: str) -> None:
        versions = self._store.versions.begin(series_instance_uid, AT_ONCE)
        if all(self._is_the_same(one) for one in versions):
            self._store.versions.show_the_same(series_instance_uid, [one.instance_id for one in versions])
            _LOG.info("versions.same", series_instance_uid=series_instance_uid, instances=len(versions))
            return
        revision = self._store.versions.show_another(series_instance_uid)
        _LOG.info("versions.changed", series_instance_uid=series_instance_uid, revision=revision)

    def _is_the_same(self, version: ResentVersion) -> bool:
        if version.before is None:
            return False
        return show_the_same(self._archive_dir / version.before, self._archive_dir / version.path)
