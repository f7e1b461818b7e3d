"""A series as the archive holds it: headers from its files, its study's context from the series beside it."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from time import monotonic

from analysis.errors import ReadingTooLong, UnreadableInstance
from analysis.series import Series, SeriesReading, StudyContext, read_series
from db import SeriesRecord, Store, received_series_uid

__all__ = ["EMISSION_MODALITIES", "read_archived", "study_context"]

EMISSION_MODALITIES = frozenset({"PT", "NM"})


def read_archived(
    store: Store,
    archive_dir: Path,
    series_instance_uid: str,
    revision: int,
    *,
    context: StudyContext | None = None,
    ends_at: float | None = None,
) -> Series:
    """The series of this key at the given revision, from the newest version of each of its instances.

    ``context`` is that of its study, where it is known already; past ``ends_at`` (monotonic) no more files are read.

    Raises:
        ReadingTooLong: there were some left.
        UnreadableInstance: a file is missing or unreadable, or the series has none.
    """
    paths = [archive_dir / stored.path for stored in store.intake.series_paths(series_instance_uid)]

    def before_each() -> None:
        if ends_at is not None and monotonic() > ends_at:
            raise ReadingTooLong

    reading = read_series(paths, before_each=before_each, revision=revision)
    series = _only(reading, received_series_uid(series_instance_uid))
    return replace(series, context=context or study_context(store.intake.study_series(series.study_instance_uid)))


def study_context(siblings: Iterable[SeriesRecord]) -> StudyContext:
    """Modalities of the study, and the frames of reference of its PT and NM series, removed by retention or not."""
    known = tuple(siblings)
    return StudyContext(
        modalities=frozenset(sibling.modality for sibling in known if sibling.modality),
        emission_frame_of_reference_uids=frozenset(
            sibling.frame_of_reference_uid
            for sibling in known
            if sibling.modality in EMISSION_MODALITIES and sibling.frame_of_reference_uid
        ),
    )


def _only(reading: SeriesReading, series_instance_uid: str) -> Series:
    if reading.unreadable:
        path, why = reading.unreadable[0]
        raise UnreadableInstance(f"{len(reading.unreadable)} of the series, the first is {path.name}: {why}.")
    for series in reading.series:
        if series.series_instance_uid == series_instance_uid:
            return series
    raise UnreadableInstance(f"The archive holds none of series {series_instance_uid}.")
