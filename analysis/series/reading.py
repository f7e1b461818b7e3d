"""Headers of DICOM files, grouped into series. A file that cannot be read is named with its reason, not raised."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from pydicom.config import disable_value_validation
from pydicom.errors import InvalidDicomError
from pydicom.uid import MediaStorageDirectoryStorage

from analysis.series.attributes import sequence, text, texts
from analysis.series.header import HEADER_TAGS, header_of
from analysis.series.identifiers import with_identifiers
from analysis.series.opening import PARSE_ERRORS, OutOfBounds, is_zip, open_header
from analysis.series.repeats import without_repeats
from analysis.series.series import InstanceHeader, Series, SeriesReading, StudyContext

_DIRECTORY = "a DICOMDIR, not an instance"
_REQUIRED = (
    ("SOPClassUID", "sop_class_uid"),
    ("SOPInstanceUID", "sop_instance_uid"),
    ("StudyInstanceUID", "study_instance_uid"),
    ("SeriesInstanceUID", "series_instance_uid"),
)


def read_series(
    paths: Iterable[Path],
    *,
    before_each: Callable[[], None] | None = None,
    revision: int = 1,
    derive: bool = False,
) -> SeriesReading:
    """Read the headers of the given files, and of those below the given folders, and group them into series.

    Series come in the order of their number and UID, instances in that of their number and UID; the order of
    ``paths`` has no say. Each series knows which modalities stand beside it. An instance that is there twice counts
    once, and so does a slice that is there twice under two UIDs with the same pixels. Memory grows with the number of
    instances (about 3 kB each), never with pixels.

    ``before_each`` is called before each file is read, and ends the reading where it raises.
    With ``derive`` identifiers that the files lack are derived from their content, and patients who share a series UID
    are told apart: a folder is all there is. Without it such files are unreadable.
    """
    found: list[InstanceHeader] = []
    unreadable: list[tuple[Path, str]] = []
    for path in _files(paths):
        if before_each is not None:
            before_each()
        with disable_value_validation():  # which would warn, and log the value; what makes no sense is absent here
            header = _read_header(path)
        if isinstance(header, str):
            if header != _DIRECTORY:
                unreadable.append((path, header))
        elif derive or not (missing := [keyword for keyword, name in _REQUIRED if not getattr(header, name)]):
            found.append(header)
        else:
            unreadable.append((path, f"has no {', '.join(missing)}"))
    notes: tuple[str, ...] = ()
    if derive:
        named, notes = with_identifiers([header for header in found if _has_class(header)])
        unreadable += [(header.path, "has no SOPClassUID") for header in found if not _has_class(header)]
        found = sorted(named, key=lambda header: header.path)
    headers: dict[str, InstanceHeader] = {}
    for header in found:
        if header.sop_instance_uid in headers:
            unreadable.append((header.path, "repeats the SOP Instance UID of another file"))
        else:
            headers[header.sop_instance_uid] = header
    return SeriesReading(
        series=_grouped(headers.values(), revision, by_patient=derive), unreadable=tuple(unreadable), notes=notes
    )


def study_context(headers: Iterable[InstanceHeader]) -> StudyContext:
    """Tell what stands in a study: its modalities, and the frames of reference of its PT and NM images."""
    all_headers = tuple(headers)
    return StudyContext(
        modalities=frozenset(header.modality for header in all_headers if header.modality),
        emission_frame_of_reference_uids=frozenset(
            header.frame_of_reference_uid
            for header in all_headers
            if header.modality in {"PT", "NM"} and header.frame_of_reference_uid
        ),
    )


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in sorted({Path(path) for path in paths}):
        if path.is_dir():
            children = sorted(child for child in path.rglob("*") if child.is_file())
            yield from children
            media = [child for child in children if _is_directory(child)]
            yield from (named for medium in media for named in _of_medium(medium) if not named.exists())
        elif _is_directory(path):
            yield from _of_medium(path)
        else:
            yield path


def _is_directory(path: Path) -> bool:
    return path.name.upper() == "DICOMDIR"


def _of_medium(directory: Path) -> Iterator[Path]:
    """The files that a DICOMDIR names (PS3.10 section 8), as they lie below its folder; itself where it names none."""
    try:
        records = sequence(open_header(directory, ["DirectoryRecordSequence"]), "DirectoryRecordSequence")
    except (OutOfBounds, *PARSE_ERRORS):
        records = ()
    named = {tuple(words) for record in records if (words := texts(record, "ReferencedFileID"))}
    inside = sorted(words for words in named if not {"..", "", "."}.intersection(words))
    yield from (_as_it_lies(directory.parent, words) for words in inside)
    if not inside:
        yield directory


def _as_it_lies(folder: Path, words: tuple[str, ...]) -> Path:
    """The file of these names; a copied or mounted medium may have them in small letters, or with a version."""
    path = folder.joinpath(*words)
    if path.exists():
        return path
    found = folder
    for word in words:
        if not found.is_dir():
            return path
        alike = (one for one in sorted(found.iterdir()) if _plain_name(one.name) == word.upper())
        found = next(alike, found / word)
    return found


def _plain_name(name: str) -> str:
    """The name as ISO 9660 means it: capitals, without the version and the full stop of an empty extension."""
    return name.upper().partition(";")[0].removesuffix(".")


def _grouped(headers: Iterable[InstanceHeader], revision: int, *, by_patient: bool) -> tuple[Series, ...]:
    by_study: dict[str, list[InstanceHeader]] = defaultdict(list)
    by_series: dict[tuple[str, str, str], list[InstanceHeader]] = defaultdict(list)
    for header in headers:
        by_study[header.study_instance_uid].append(header)
        patient = header.patient if by_patient else ""
        by_series[header.study_instance_uid, header.series_instance_uid, patient].append(header)
    contexts = {study: study_context(members) for study, members in by_study.items()}
    series: list[Series] = []
    for (study, uid, _), members in by_series.items():
        kept, repeats = without_repeats(members)
        series.append(
            Series(
                study_instance_uid=study,
                series_instance_uid=uid,
                revision=revision,
                headers=tuple(sorted(kept, key=lambda header: (header.instance_number or 0, header.sop_instance_uid))),
                context=contexts[study],
                repeats=repeats,
            )
        )
    return tuple(
        sorted(
            series,
            key=lambda one: (
                one.study_instance_uid,
                one.headers[0].series_number or 0,
                one.series_instance_uid,
                one.headers[0].patient,
            ),
        )
    )


def _has_class(header: InstanceHeader) -> bool:
    """Whether it can be told what the instance is: a CT without its SOP class is a CT."""
    return bool(header.sop_class_uid) or header.modality == "CT"


def _read_header(path: Path) -> InstanceHeader | str:
    """Read the header of a file, or say why there is none."""
    try:
        dataset = open_header(path, HEADER_TAGS)
        meta = getattr(dataset, "file_meta", None)
        stored_class = text(meta, "MediaStorageSOPClassUID")
        if stored_class == MediaStorageDirectoryStorage:
            return _DIRECTORY
        header = header_of(path, dataset)
    except OutOfBounds as error:
        return f"asks for more than an image needs: {error.detail}"
    except PARSE_ERRORS as error:
        return _why_unreadable(path, error)
    return replace(
        header,
        sop_class_uid=header.sop_class_uid or stored_class,
        sop_instance_uid=header.sop_instance_uid or text(meta, "MediaStorageSOPInstanceUID"),
    )


def _why_unreadable(path: Path, error: BaseException) -> str:
    match error:
        case InvalidDicomError() if is_zip(path):
            return "a zip archive that is damaged, or lies in a folder or an archive: unpack it and name its folder"
        case InvalidDicomError():
            return "not a DICOM file"
        case FileNotFoundError():
            return "no such file"
        case PermissionError():
            return "may not be read"
        case _:
            return f"cannot be parsed ({type(error).__name__})"
