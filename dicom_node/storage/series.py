"""A series as the archive holds it: headers from its files, its study's context from the series beside it."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from analysis.errors import UnreadableInstance
from analysis.series import Series, StudyContext, read_series
from db import Store

__all__ = ["read_archived"]

_EMISSION_MODALITIES = frozenset({"PT", "NM"})


def read_archived(store: Store, archive_dir: Path, series_instance_uid: str, revision: int) -> Series:
    """The series at the given revision, from the newest version of each of its instances.

    Raises:
        UnreadableInstance: a file is missing or unreadable, or the series has none.
    """
    series = _read_one(_paths(store, archive_dir, series_instance_uid), series_instance_uid, revision)
    return replace(series, context=_context(store, archive_dir, series))


def _read_one(paths: Iterable[Path], series_instance_uid: str, revision: int) -> Series:
    reading = read_series(paths, revision=revision)
    if reading.unreadable:
        path, why = reading.unreadable[0]
        raise UnreadableInstance(f"{len(reading.unreadable)} of the series, the first is {path.name}: {why}.")
    for series in reading.series:
        if series.series_instance_uid == series_instance_uid:
            return series
    raise UnreadableInstance(f"The archive holds none of series {series_instance_uid}.")


def _paths(store: Store, archive_dir: Path, series_instance_uid: str) -> list[Path]:
    return [archive_dir / stored.path for stored in store.intake.series_paths(series_instance_uid)]


def _context(store: Store, archive_dir: Path, series: Series) -> StudyContext:
    """Modalities of the study, and the frames of reference of its PT and NM series (one file of each is read)."""
    siblings = store.intake.study_series(series.study_instance_uid)
    emission = [
        paths[0]
        for sibling in siblings
        if sibling.modality in _EMISSION_MODALITIES
        and (paths := _paths(store, archive_dir, sibling.series_instance_uid))
    ]
    frames = frozenset(
        uid for one in read_series(emission).series if (uid := one.headers[0].frame_of_reference_uid) is not None
    )
    return StudyContext(
        modalities=frozenset(sibling.modality for sibling in siblings if sibling.modality),
        emission_frame_of_reference_uids=frames,
    )
