"""What came of what was sent to a fleet: what is lost, what is there twice, what was analysed twice at once."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import pydicom

from alerts import AlertState, ArtefactKind, DeliveryState
from db import JobState, Store
from dicom_node.settings import Settings

__all__ = ["Judgement", "Kept", "is_settled", "judge", "overlaps"]


@dataclass(slots=True, kw_only=True)
class Kept:
    """What a destination holds: of each SOP Instance UID the first object, as archives do, and what came after."""

    objects: dict[str, bytes] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)

    def take(self, uid: str, content: bytes) -> None:
        """An object arrives."""
        if self.objects.setdefault(uid, content) != content:
            self.changed.append(uid)


@dataclass(slots=True, kw_only=True)
class Judgement:
    """How many, of each kind; of what must not be, which."""

    series: int = 0
    images: int = 0
    analysed: int = 0
    flagged: int = 0
    delivered: int = 0
    lost_images: list[str] = field(default_factory=list)
    without_a_result: list[str] = field(default_factory=list)
    without_its_alert: list[str] = field(default_factory=list)
    flagged_twice: list[str] = field(default_factory=list)
    not_delivered: list[str] = field(default_factory=list)
    delivered_as_something_else: list[str] = field(default_factory=list)
    analysed_twice_at_once: list[str] = field(default_factory=list)

    @property
    def faults(self) -> dict[str, list[str]]:
        """What must not be, by its name; empty where all is well."""
        found = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in found.items() if isinstance(value, list) and value}


def is_settled(store: Store, sent: Iterable[Path]) -> bool:
    """Everything that was acknowledged has its row, nothing is still coming, waits to be analysed or sent."""
    for folder in sent:
        files = sorted(folder.iterdir())
        series = str(pydicom.dcmread(files[0], stop_before_pixels=True).SeriesInstanceUID)
        if len(store.intake.series_paths(series)) < len(files):
            return False
    if next(iter(store.intake.receiving_series()), None) or store.intake.complete_series():
        return False
    if store.jobs.list([JobState.QUEUED, JobState.RUNNING], limit=1):
        return False
    return not store.deliveries.list([DeliveryState.PENDING, DeliveryState.SENDING], limit=1)


def judge(settings: Settings, store: Store, sent: Iterable[Path], kept: Kept, twice: list[str]) -> Judgement:
    """Hold what the senders were acknowledged against what is in the archive, in the database and at the destination.

    ``sent`` are the folders of the series, ``twice`` those that were analysed twice at once.
    """
    found = Judgement(delivered_as_something_else=list(kept.changed), analysed_twice_at_once=twice)
    alerts = Counter(one.study_instance_uid for one in store.alerts.list() if one.state is not AlertState.SUPERSEDED)
    for folder in sent:
        files = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
        series, study = str(files[0].SeriesInstanceUID), str(files[0].StudyInstanceUID)
        found.series += 1
        found.images += len(files)
        found.lost_images += _lost(settings, store, series, files)
        result = store.results.latest(series)
        record = store.series.get(series)
        if result is None or record is None or result.revision != record.revision:
            why = "unknown" if record is None else f"{record.state}, revision {record.revision}: {record.reason}"
            found.without_a_result.append(f"{series} ({why})")
            continue
        found.analysed += 1
        if alerts[study] > 1:
            found.flagged_twice.append(study)
        elif not alerts[study]:
            found.without_its_alert.append(study)
        found.flagged += min(1, alerts[study])
        reports = [one for one in result.artefacts if one.kind is ArtefactKind.SR]
        if any(one.sop_instance_uid in kept.objects for one in reports):
            found.delivered += 1
        else:
            found.not_delivered.append(series)
    return found


def _lost(settings: Settings, store: Store, series: str, files: Iterable[pydicom.Dataset]) -> list[str]:
    there = {one.sop_instance_uid: settings.archive_dir / one.path for one in store.intake.series_paths(series)}
    lost: list[str] = []
    for image in files:
        path = there.get(str(image.SOPInstanceUID))
        if path is None or not path.exists() or pydicom.dcmread(path).PixelData != image.PixelData:
            lost.append(str(image.SOPInstanceUID))
    return lost


def overlaps(journals: Iterable[Path], kills: Mapping[str, Iterable[float]]) -> list[str]:
    """The series of which two analyses ran at the same moment; one whose worker was killed ran until then.

    ``kills`` are, by the names of the journals, the moments at which their worker was killed.
    """
    spans: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for journal in journals:
        ends = sorted(kills.get(journal.name, ()))
        begun: tuple[str, float] | None = None
        for line in journal.read_text().splitlines():
            word, series, _, at = line.split()
            if word == "begin":
                if begun is not None:
                    spans[begun[0]].append((begun[1], _first_after(ends, begun[1])))
                begun = series, float(at)
            elif begun is not None:
                spans[series].append((begun[1], float(at)))
                begun = None
        if begun is not None:
            spans[begun[0]].append((begun[1], _first_after(ends, begun[1])))
    return sorted(
        series
        for series, ran in spans.items()
        if any(first[1] > second[0] for first, second in zip(sorted(ran), sorted(ran)[1:], strict=False))
    )


def _first_after(moments: Iterable[float], begin: float) -> float:
    return next((moment for moment in moments if moment > begin), float("inf"))
