"""Headers of DICOM files, grouped into series. A file that cannot be read is named with its reason, not raised."""

import math
import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pydicom
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, MediaStorageDirectoryStorage

from analysis.series.series import FrameGeometry, InstanceHeader, Series, SeriesReading, StudyContext

_TAGS = [
    "SpecificCharacterSet",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "Modality",
    "ImageType",
    "SeriesNumber",
    "InstanceNumber",
    "AcquisitionNumber",
    "AcquisitionTime",
    "SeriesDescription",
    "StudyDescription",
    "ProtocolName",
    "RequestedProcedureDescription",
    "ReasonForStudy",
    "ReasonForTheRequestedProcedure",
    "RequestAttributesSequence",
    "BodyPartExamined",
    "PatientPosition",
    "ConvolutionKernel",
    "Manufacturer",
    "ManufacturerModelName",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "PixelSpacing",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "SliceThickness",
    "GantryDetectorTilt",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "ReconstructionDiameter",
    "KVP",
    "Exposure",
    "ContrastBolusAgent",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]

# What pydicom raises on bytes that are not DICOM, or not any more, and on values that contradict their VR.
_READ_ERRORS = (
    InvalidDicomError,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    struct.error,
)


def read_series(
    paths: Iterable[Path], *, before_each: Callable[[], None] | None = None, revision: int = 1
) -> SeriesReading:
    """Read the headers of the given files, and of those below the given folders, and group them into series.

    Series come in the order of their number and UID, instances in that of their number and UID; the order of
    ``paths`` has no say. Each series knows which modalities stand beside it. An instance that is there twice counts
    once. Memory grows with the number of instances (about 3 kB each), never with pixels. ``before_each`` is called
    before each file is read, and ends the reading where it raises.
    """
    headers: dict[str, InstanceHeader] = {}
    unreadable: list[tuple[Path, str]] = []
    for path in _files(paths):
        if before_each is not None:
            before_each()
        with disable_value_validation():  # which would warn, and log the value; what makes no sense is absent here
            header = _read_header(path)
        if isinstance(header, str):
            unreadable.append((path, header))
        elif header.sop_instance_uid in headers:
            unreadable.append((path, "repeats the SOP Instance UID of another file"))
        else:
            headers[header.sop_instance_uid] = header
    return SeriesReading(series=_grouped(headers.values(), revision), unreadable=tuple(unreadable))


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
            yield from sorted(child for child in path.rglob("*") if child.is_file())
        else:
            yield path


def _grouped(headers: Iterable[InstanceHeader], revision: int) -> tuple[Series, ...]:
    by_study: dict[str, list[InstanceHeader]] = defaultdict(list)
    by_series: dict[tuple[str, str], list[InstanceHeader]] = defaultdict(list)
    for header in headers:
        by_study[header.study_instance_uid].append(header)
        by_series[header.study_instance_uid, header.series_instance_uid].append(header)
    contexts = {study: study_context(members) for study, members in by_study.items()}
    series = (
        Series(
            study_instance_uid=study,
            series_instance_uid=uid,
            revision=revision,
            headers=tuple(sorted(members, key=lambda header: (header.instance_number or 0, header.sop_instance_uid))),
            context=contexts[study],
        )
        for (study, uid), members in by_series.items()
    )
    return tuple(
        sorted(
            series,
            key=lambda one: (one.study_instance_uid, one.headers[0].series_number or 0, one.series_instance_uid),
        )
    )


def _read_header(path: Path) -> InstanceHeader | str:
    """Read the header of a file, or say why there is none."""
    try:
        dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
    except _READ_ERRORS as error:
        return _why_unreadable(error)
    meta_class = _text(getattr(dataset, "file_meta", None), "MediaStorageSOPClassUID")
    if meta_class == MediaStorageDirectoryStorage:
        return "a DICOMDIR, not an instance"
    missing = [
        keyword
        for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
        if not _text(dataset, keyword)
    ]
    if missing:
        return f"has no {', '.join(missing)}"
    return _header(path, dataset)


def _why_unreadable(error: BaseException) -> str:
    match error:
        case InvalidDicomError():
            return "not a DICOM file"
        case FileNotFoundError():
            return "no such file"
        case PermissionError():
            return "may not be read"
        case _:
            return f"cannot be parsed ({type(error).__name__})"


def _header(path: Path, dataset: Dataset) -> InstanceHeader:
    frames = _frames(dataset)
    first = frames[0] if frames else None
    frame_type = _texts(_item(_groups(dataset, 0), "CTImageFrameTypeSequence"), "FrameType") if frames else ()
    reconstruction = _item(_shared(dataset), "CTReconstructionSequence")
    tilt = _number(dataset, "GantryDetectorTilt")
    return InstanceHeader(
        path=path,
        sop_instance_uid=_text(dataset, "SOPInstanceUID"),
        sop_class_uid=_text(dataset, "SOPClassUID"),
        transfer_syntax_uid=_text(getattr(dataset, "file_meta", None), "TransferSyntaxUID"),
        study_instance_uid=_text(dataset, "StudyInstanceUID"),
        series_instance_uid=_text(dataset, "SeriesInstanceUID"),
        frame_of_reference_uid=_text(dataset, "FrameOfReferenceUID") or None,
        modality=_text(dataset, "Modality").upper(),
        image_type=tuple(word.strip().upper() for word in _texts(dataset, "ImageType") or frame_type),
        series_number=_integer(dataset, "SeriesNumber"),
        instance_number=_integer(dataset, "InstanceNumber"),
        acquisition_number=_integer(dataset, "AcquisitionNumber"),
        series_description=_text(dataset, "SeriesDescription"),
        study_description=_text(dataset, "StudyDescription"),
        protocol_name=_text(dataset, "ProtocolName"),
        requested_procedure=_requested(dataset, "RequestedProcedureDescription", "ScheduledProcedureStepDescription"),
        reason_for_request=_requested(dataset, "ReasonForTheRequestedProcedure", "ReasonForStudy"),
        body_part_examined=_text(dataset, "BodyPartExamined").upper(),
        patient_position=_text(dataset, "PatientPosition").upper(),
        convolution_kernel="\\".join(
            _texts(dataset, "ConvolutionKernel") or _texts(reconstruction, "ConvolutionKernel")
        ),
        manufacturer=_text(dataset, "Manufacturer"),
        manufacturer_model_name=_text(dataset, "ManufacturerModelName"),
        rows=_integer(dataset, "Rows"),
        columns=_integer(dataset, "Columns"),
        number_of_frames=max(1, _integer(dataset, "NumberOfFrames") or 1),
        pixel_spacing_mm=first.pixel_spacing_mm if first else _spacing(dataset),
        image_orientation_patient=first.image_orientation_patient if first else _orientation(dataset),
        image_position_patient_mm=first.image_position_patient_mm if first else _position(dataset),
        slice_thickness_mm=first.slice_thickness_mm if first else _positive(dataset, "SliceThickness"),
        gantry_detector_tilt_deg=tilt
        if tilt is not None
        else _number(_item(_shared(dataset), "CTAcquisitionDetailsSequence"), "GantryDetectorTilt"),
        rescale_slope=first.rescale_slope if first else _number(dataset, "RescaleSlope"),
        rescale_intercept=first.rescale_intercept if first else _number(dataset, "RescaleIntercept"),
        rescale_type=_text(dataset, "RescaleType")
        or _text(_item(_shared(dataset), "PixelValueTransformationSequence"), "RescaleType"),
        reconstruction_diameter_mm=_positive(dataset, "ReconstructionDiameter"),
        kvp=_positive(dataset, "KVP"),
        exposure_mas=_positive(dataset, "Exposure"),
        contrast_bolus_agent=_text(dataset, "ContrastBolusAgent"),
        frames=frames,
        acquisition_time=_text(dataset, "AcquisitionTime"),
    )


def _requested(dataset: Dataset, *keywords: str) -> str:
    """What the request says, once each: at the top level and in the Request Attributes Sequence (PS3.3 C.7.3.1)."""
    places = (dataset, *_sequence(dataset, "RequestAttributesSequence"))
    texts = [_text(place, keyword) for place in places for keyword in keywords]
    return "; ".join(dict.fromkeys(filter(None, texts)))


def _frames(dataset: Dataset) -> tuple[FrameGeometry, ...]:
    """Geometry of every frame of a multi-frame instance; empty when one frame lacks it (PS3.3 C.7.6.16.2)."""
    per_frame = _sequence(dataset, "PerFrameFunctionalGroupsSequence")
    frames: list[FrameGeometry] = []
    for number, _ in enumerate(per_frame, start=1):
        groups = _groups(dataset, number - 1)
        position = _position(_item(groups, "PlanePositionSequence"))
        orientation = _orientation(_item(groups, "PlaneOrientationSequence"))
        measures = _item(groups, "PixelMeasuresSequence")
        spacing = _spacing(measures)
        rescale = _item(groups, "PixelValueTransformationSequence")
        slope, intercept = _number(rescale, "RescaleSlope"), _number(rescale, "RescaleIntercept")
        if position is None or orientation is None or spacing is None or slope is None or intercept is None:
            return ()
        frames.append(
            FrameGeometry(
                frame_number=number,
                image_position_patient_mm=position,
                image_orientation_patient=orientation,
                pixel_spacing_mm=spacing,
                slice_thickness_mm=_positive(measures, "SliceThickness"),
                rescale_slope=slope,
                rescale_intercept=intercept,
            )
        )
    return tuple(frames)


def _shared(dataset: Dataset) -> tuple[Dataset, ...]:
    return tuple(_sequence(dataset, "SharedFunctionalGroupsSequence")[:1])


def _groups(dataset: Dataset, index: int) -> tuple[Dataset, ...]:
    """Functional groups of a frame: its own before the shared ones."""
    return (*_sequence(dataset, "PerFrameFunctionalGroupsSequence")[index : index + 1], *_shared(dataset))


def _item(groups: Sequence[Dataset], keyword: str) -> Dataset | None:
    """First item of a sequence in the first group that has it."""
    for group in groups:
        items = _sequence(group, keyword)
        if items:
            return items[0]
    return None


def _sequence(dataset: Dataset | None, keyword: str) -> Sequence[Dataset]:
    value = _value(dataset, keyword)
    return value if isinstance(value, pydicom.Sequence) else ()


def _value(dataset: Dataset | None, keyword: str) -> Any:
    """Read an attribute; None where it is absent or its bytes make no sense."""
    if dataset is None:
        return None
    try:
        return dataset.get(keyword)
    except _READ_ERRORS:
        return None


def _texts(dataset: Dataset | None, keyword: str) -> tuple[str, ...]:
    value = _value(dataset, keyword)
    if value is None or value == "":
        return ()
    if isinstance(value, str | UID | bytes | int | float):
        return (_clean(value),)
    try:
        return tuple(_clean(one) for one in value)
    except TypeError:
        return (_clean(value),)


def _text(dataset: Dataset | None, keyword: str) -> str:
    return "\\".join(_texts(dataset, keyword))


def _clean(value: object) -> str:
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
    return "".join(character for character in text if character.isprintable()).strip()


def _numbers(dataset: Dataset | None, keyword: str, count: int) -> tuple[float, ...] | None:
    value = _value(dataset, keyword)
    if value is None or value == "":
        return None
    try:
        values = (value,) if isinstance(value, str | int | float) else tuple(value)
        numbers = tuple(float(one) for one in values)
    except (TypeError, ValueError, OverflowError):
        return None
    return numbers if len(numbers) >= count and all(map(math.isfinite, numbers)) else None


def _number(dataset: Dataset | None, keyword: str) -> float | None:
    numbers = _numbers(dataset, keyword, 1)
    return numbers[0] if numbers else None


def _positive(dataset: Dataset | None, keyword: str) -> float | None:
    number = _number(dataset, keyword)
    return number if number is not None and number > 0 else None


def _integer(dataset: Dataset | None, keyword: str) -> int | None:
    number = _number(dataset, keyword)
    return int(number) if number is not None else None


def _spacing(dataset: Dataset | None) -> tuple[float, float] | None:
    numbers = _numbers(dataset, "PixelSpacing", 2)
    return (numbers[0], numbers[1]) if numbers and min(numbers[:2]) > 0 else None


def _position(dataset: Dataset | None) -> tuple[float, float, float] | None:
    numbers = _numbers(dataset, "ImagePositionPatient", 3)
    return (numbers[0], numbers[1], numbers[2]) if numbers else None


def _orientation(dataset: Dataset | None) -> tuple[float, float, float, float, float, float] | None:
    """Direction cosines of a row and a column; None unless they are of unit length and at right angles."""
    numbers = _numbers(dataset, "ImageOrientationPatient", 6)
    if not numbers:
        return None
    row, column = numbers[:3], numbers[3:6]
    lengths = (math.hypot(*row), math.hypot(*column))
    cosine = sum(one * other for one, other in zip(row, column, strict=True))
    tolerance = 1e-2
    if any(abs(length - 1) > tolerance for length in lengths) or abs(cosine) > tolerance:
        return None
    return (numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5])
