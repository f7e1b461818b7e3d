"""The source instances of a report: what it refers to, and the patient and study that it inherits."""

import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pydicom
from pydicom import config
from pydicom.charset import convert_encodings, default_encoding
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.tag import Tag

from alerts.errors import UnusableEvidence
from analysis.moments import read_moment
from analysis.series.opening import is_bare

_MOMENTS: Final = (("ContentDate", "ContentTime"), ("AcquisitionDate", "AcquisitionTime"), ("SeriesDate", "SeriesTime"))
_STUDY_MOMENT: Final = ("StudyDate", "StudyTime")
_IDENTIFIERS: Final = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_TAGS: Final = [*_IDENTIFIERS, *(keyword for moment in (*_MOMENTS, _STUDY_MOMENT) for keyword in moment)]
# type 2 of the Patient and General Study modules (PS3.3, C.7.1.1 and C.7.2.1): present, and empty where not known
_TYPE_2: Final = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)
_TEXT_VRS: Final = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UT"})


@contextmanager
def as_received() -> Generator[None]:
    """Values of the source pass unchecked and without a word: they are not ours to mend, nor to log."""
    with config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceInstance:
    """One instance that objects of a result refer to."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    moment: datetime

    def stand_in(self) -> Dataset:
        """The instance as a report refers to it, without anything about the patient."""
        dataset = Dataset()
        dataset.SOPClassUID = self.sop_class_uid
        dataset.SOPInstanceUID = self.sop_instance_uid
        dataset.StudyInstanceUID = self.study_instance_uid
        dataset.SeriesInstanceUID = self.series_instance_uid
        return dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentReference:
    """A segment of a segmentation of the series, by its number."""

    instance: SourceInstance
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The instances in order of their UIDs, and the file whose patient and study the report takes over."""

    instances: tuple[SourceInstance, ...]
    first_path: Path

    @property
    def last(self) -> datetime:
        """When the last image was made."""
        return max(instance.moment for instance in self.instances)

    @property
    def moment(self) -> tuple[str, str]:
        """Date (DA) and time (TM) of the last image."""
        return self.last.strftime("%Y%m%d"), self.last.strftime("%H%M%S")


def stand_ins(instances: Sequence[SourceInstance]) -> list[Dataset]:
    """The instances as a report refers to them; the first also has, empty, what highdicom takes over of the patient."""
    datasets = [instance.stand_in() for instance in instances]
    for keyword in _TYPE_2:
        setattr(datasets[0], keyword, "")
    return datasets


def read_evidence(
    paths: Sequence[Path], *, series_instance_uid: str, derived: Mapping[Path, Mapping[str, str]] | None = None
) -> Evidence:
    """The instances in ``paths``, once each; ``UnusableEvidence`` unless all are of the series and can be read.

    ``derived`` are the identifiers, by keyword, of files that lack their own.
    """
    with as_received():
        return _read(paths, series_instance_uid, derived or {})


def _read(paths: Sequence[Path], series_instance_uid: str, derived: Mapping[Path, Mapping[str, str]]) -> Evidence:
    found: dict[str, tuple[SourceInstance, Path]] = {}
    for path in paths:
        instance = read_instance(path, derived.get(path))
        if instance.series_instance_uid != series_instance_uid:
            raise UnusableEvidence("An instance belongs to another series.")
        found.setdefault(instance.sop_instance_uid, (instance, path))
    if not found:
        raise UnusableEvidence("There is no instance.")
    ordered = [found[uid] for uid in sorted(found)]
    if len({instance.study_instance_uid for instance, _ in ordered}) > 1:
        raise UnusableEvidence("The instances belong to several studies.")
    return Evidence(instances=tuple(instance for instance, _ in ordered), first_path=ordered[0][1])


def copy_patient_and_study(report: Dataset, first_path: Path) -> None:
    """Give ``report`` the patient and study attributes of a source file, byte for byte where they are text.

    Attributes of type 2 that the source lacks are present and empty. ``report`` is a highdicom object.
    """
    decoded = pydicom.dcmread(first_path, force=is_bare(first_path), stop_before_pixels=True)
    original = pydicom.dcmread(first_path, force=is_bare(first_path), stop_before_pixels=True)
    own = set(report.keys())
    for keyword in _TYPE_2:
        setattr(report, keyword, "")
    if "SpecificCharacterSet" in decoded:
        report.SpecificCharacterSet = decoded.SpecificCharacterSet
    if "TimezoneOffsetFromUTC" in decoded:
        report.TimezoneOffsetFromUTC = decoded.TimezoneOffsetFromUTC
    report.copy_patient_and_study_information(decoded)
    _drop_broken_references(report)
    inherited = {Tag(keyword) for keyword in _TYPE_2} | (set(report.keys()) - own)
    for tag in inherited & set(original.keys()):
        element = original.get_item(tag)
        if not isinstance(element, RawDataElement) or tag.is_private:
            continue
        vr = element.VR or dictionary_VR(tag)
        if vr in _TEXT_VRS and element.value is not None:
            report[tag] = element._replace(VR=vr, is_implicit_VR=False, is_little_endian=True)
    # what is raw and in the encoding that is about to be written goes to the file untouched
    declared = report.get("SpecificCharacterSet")
    report.set_original_encoding(
        is_implicit_vr=False,
        is_little_endian=True,
        character_encoding=convert_encodings(declared) if declared else default_encoding,
    )


def _drop_broken_references(report: Dataset) -> None:
    """Leave out references to a study that lack one of their UIDs: optional, useless, and an error in the report."""
    references = report.get("ReferencedStudySequence")
    if references is None:
        return
    whole = [item for item in references if item.get("ReferencedSOPClassUID") and item.get("ReferencedSOPInstanceUID")]
    if whole:
        report.ReferencedStudySequence = whole
    else:
        del report.ReferencedStudySequence


def read_instance(path: Path, derived: Mapping[str, str] | None = None) -> SourceInstance:
    """What one file is, as far as a report refers to it; ``UnusableEvidence`` where it cannot be read."""
    try:
        header = pydicom.dcmread(path, force=is_bare(path), stop_before_pixels=True, specific_tags=_TAGS)
    except (OSError, InvalidDicomError, EOFError) as cause:
        raise UnusableEvidence("An instance cannot be read.") from cause
    values = {keyword: str((derived or {}).get(keyword) or header.get(keyword) or "") for keyword in _IDENTIFIERS}
    missing = [keyword for keyword, value in values.items() if not value]
    if missing:
        raise UnusableEvidence(f"An instance lacks {', '.join(missing)}.")
    return SourceInstance(
        sop_class_uid=values["SOPClassUID"],
        sop_instance_uid=values["SOPInstanceUID"],
        study_instance_uid=values["StudyInstanceUID"],
        series_instance_uid=values["SeriesInstanceUID"],
        moment=_moment(header, path),
    )


def _moment(header: Dataset, path: Path) -> datetime:
    """When the image was made, as exactly as its header tells: content, acquisition, series, else study.

    Where the header tells no date that can be, when its file was written: no report bears a date nobody meant.
    """
    for date_keyword, time_keyword in (*_MOMENTS, _STUDY_MOMENT):
        found = read_moment(str(header.get(date_keyword) or ""), str(header.get(time_keyword) or ""))
        if found is not None:
            return found
    return datetime.fromtimestamp(int(path.stat().st_mtime), tz=UTC)
