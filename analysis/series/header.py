"""One instance's header, from its file to a value in the Standard's terms."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from analysis.moments import OLDEST_YEARS, read_birth_date, read_date, read_datetime, read_moment
from analysis.series.attributes import (
    first_item,
    integer,
    meanings,
    number,
    orientation,
    position,
    positive,
    sequence,
    spacing,
    text,
    texts,
)
from analysis.series.series import FrameGeometry, InstanceHeader, PixelFormat

HEADER_TAGS = [
    "SpecificCharacterSet",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "PatientID",
    "IssuerOfPatientID",
    "PatientAge",
    "PatientBirthDate",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "Modality",
    "ImageType",
    "SeriesNumber",
    "InstanceNumber",
    "AcquisitionNumber",
    "AcquisitionDate",
    "AcquisitionTime",
    "AcquisitionDateTime",
    "IrradiationEventUID",
    "TemporalPositionIdentifier",
    "NominalPercentageOfCardiacPhase",
    "SeriesDescription",
    "StudyDescription",
    "ProtocolName",
    "RequestedProcedureDescription",
    "RequestedProcedureCodeSequence",
    "PerformedProcedureStepDescription",
    "ProcedureCodeSequence",
    "RequestAttributesSequence",
    "ReasonForStudy",
    "ReasonForVisit",
    "ReasonForVisitCodeSequence",
    "ReasonForTheRequestedProcedure",
    "ReasonForRequestedProcedureCodeSequence",
    "ReasonForPerformedProcedureCodeSequence",
    "AdmittingDiagnosesDescription",
    "AdmittingDiagnosesCodeSequence",
    "RequestedProcedureComments",
    "BodyPartExamined",
    "PatientPosition",
    "ConvolutionKernel",
    "Manufacturer",
    "ManufacturerModelName",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
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

_AGE = re.compile(r"(\d{3})([YMWD])")
_AGES_A_YEAR = {"Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}
_PROCEDURES = ("RequestedProcedureDescription", "ScheduledProcedureStepDescription")
_PROCEDURE_CODES = ("RequestedProcedureCodeSequence", "ScheduledProtocolCodeSequence", "ProcedureCodeSequence")
_REASONS = (
    *("ReasonForTheRequestedProcedure", "ReasonForStudy", "ReasonForVisit"),
    *("AdmittingDiagnosesDescription", "RequestedProcedureComments"),
)
_REASON_CODES = (
    *("ReasonForRequestedProcedureCodeSequence", "ReasonForVisitCodeSequence"),
    *("ReasonForPerformedProcedureCodeSequence", "AdmittingDiagnosesCodeSequence"),
)


def header_of(path: Path, dataset: Dataset) -> InstanceHeader:
    """The header; what the data set lacks, or says in a way that makes no sense, is None or empty.

    Raises:
        OutOfBounds: a sequence has more items than any image needs.
    """
    groups = _FunctionalGroups.of(dataset)
    frames = _frames(dataset, groups)
    first = frames[0] if frames else None
    shared = groups.shared
    reconstruction = first_item(shared, "CTReconstructionSequence")
    transformation = first_item(shared, "PixelValueTransformationSequence")
    frame_type = texts(first_item(groups.of_frame(0), "CTImageFrameTypeSequence"), "FrameType") if frames else ()
    tilt = number(dataset, "GantryDetectorTilt")
    return InstanceHeader(
        path=path,
        sop_instance_uid=text(dataset, "SOPInstanceUID"),
        sop_class_uid=text(dataset, "SOPClassUID"),
        transfer_syntax_uid=_transfer_syntax(dataset),
        study_instance_uid=text(dataset, "StudyInstanceUID"),
        series_instance_uid=text(dataset, "SeriesInstanceUID"),
        frame_of_reference_uid=text(dataset, "FrameOfReferenceUID") or None,
        modality=text(dataset, "Modality").upper(),
        image_type=tuple(word.strip().upper() for word in texts(dataset, "ImageType") or frame_type),
        series_number=integer(dataset, "SeriesNumber"),
        instance_number=integer(dataset, "InstanceNumber"),
        acquisition_number=integer(dataset, "AcquisitionNumber"),
        series_description=text(dataset, "SeriesDescription"),
        study_description=text(dataset, "StudyDescription"),
        protocol_name=text(dataset, "ProtocolName"),
        requested_procedure=_joined(_asked(dataset, _PROCEDURES, _PROCEDURE_CODES)),
        reason_for_request=_joined(_asked(dataset, _REASONS, _REASON_CODES)),
        body_part_examined=text(dataset, "BodyPartExamined").upper(),
        patient_position=text(dataset, "PatientPosition").upper(),
        convolution_kernel=text(dataset, "ConvolutionKernel") or text(reconstruction, "ConvolutionKernel"),
        manufacturer=text(dataset, "Manufacturer"),
        manufacturer_model_name=text(dataset, "ManufacturerModelName"),
        rows=integer(dataset, "Rows"),
        columns=integer(dataset, "Columns"),
        number_of_frames=max(1, integer(dataset, "NumberOfFrames") or 1),
        frame_groups=len(groups.per_frame),
        pixel_spacing_mm=first.pixel_spacing_mm if first else spacing(dataset),
        image_orientation_patient=first.image_orientation_patient if first else orientation(dataset),
        image_position_patient_mm=first.image_position_patient_mm if first else position(dataset),
        slice_thickness_mm=first.slice_thickness_mm if first else positive(dataset, "SliceThickness"),
        gantry_detector_tilt_deg=tilt
        if tilt is not None
        else number(first_item(shared, "CTAcquisitionDetailsSequence"), "GantryDetectorTilt"),
        rescale_slope=first.rescale_slope if first else number(dataset, "RescaleSlope"),
        rescale_intercept=first.rescale_intercept if first else number(dataset, "RescaleIntercept"),
        rescale_type=text(dataset, "RescaleType") or text(transformation, "RescaleType"),
        reconstruction_diameter_mm=positive(dataset, "ReconstructionDiameter")
        or positive(reconstruction, "ReconstructionDiameter"),
        kvp=positive(dataset, "KVP") or positive(first_item(shared, "CTXRayDetailsSequence"), "KVP"),
        exposure_mas=positive(dataset, "Exposure"),
        contrast_bolus_agent=text(dataset, "ContrastBolusAgent"),
        frames=frames,
        acquired_at=_acquired_at(dataset),
        marks=_marks(dataset, dataset),
        patient=_patient(dataset),
        study_key=_study_key(dataset),
        age_years=_age_years(dataset),
        pixels=PixelFormat(
            samples_per_pixel=integer(dataset, "SamplesPerPixel"),
            photometric_interpretation=text(dataset, "PhotometricInterpretation").upper(),
            bits_allocated=integer(dataset, "BitsAllocated"),
            bits_stored=integer(dataset, "BitsStored"),
            high_bit=integer(dataset, "HighBit"),
            signed=bool(integer(dataset, "PixelRepresentation")),
            lossy=text(dataset, "LossyImageCompression") == "01",
            lossy_ratio=number(dataset, "LossyImageCompressionRatio"),
        ),
    )


def _transfer_syntax(dataset: Dataset) -> str:
    """As the File Meta Information has it; where it says nothing, as the data set was found to be encoded."""
    named = text(getattr(dataset, "file_meta", None), "TransferSyntaxUID")
    return named or _ENCODINGS.get(dataset.original_encoding, "")


_ENCODINGS: Mapping[tuple[bool | None, bool | None], str] = {
    (True, True): ImplicitVRLittleEndian,
    (False, True): ExplicitVRLittleEndian,
    (False, False): ExplicitVRBigEndian,
}
"""The syntax of a data set that says nothing of it, by whether its VRs are implicit and its bytes little endian."""


class _FunctionalGroups:
    """The functional groups of a multi-frame instance (PS3.3 C.7.6.16): of a frame its own before the shared ones."""

    def __init__(self, shared: Sequence[Dataset], per_frame: Sequence[Dataset]) -> None:
        self.shared = shared
        self.per_frame = per_frame

    @classmethod
    def of(cls, dataset: Dataset) -> "_FunctionalGroups":
        return cls(
            tuple(sequence(dataset, "SharedFunctionalGroupsSequence")[:1]),
            sequence(dataset, "PerFrameFunctionalGroupsSequence"),
        )

    def of_frame(self, index: int) -> tuple[Dataset, ...]:
        return (*self.per_frame[index : index + 1], *self.shared)


def _frames(dataset: Dataset, groups: _FunctionalGroups) -> tuple[FrameGeometry, ...]:
    """Geometry of every frame; empty when one frame lacks it (PS3.3 C.7.6.16.2).

    Rescale is taken from the functional groups, or from the top level where they have none.
    """
    at_top = number(dataset, "RescaleSlope"), number(dataset, "RescaleIntercept")
    frames: list[FrameGeometry] = []
    for index in range(len(groups.per_frame)):
        own = groups.of_frame(index)
        where = position(first_item(own, "PlanePositionSequence"))
        turned = orientation(first_item(own, "PlaneOrientationSequence"))
        measures = first_item(own, "PixelMeasuresSequence")
        apart = spacing(measures)
        if where is None or turned is None or apart is None:
            return ()
        rescale = first_item(own, "PixelValueTransformationSequence")
        slope, intercept = number(rescale, "RescaleSlope"), number(rescale, "RescaleIntercept")
        content = first_item(own, "FrameContentSequence")
        frames.append(
            FrameGeometry(
                frame_number=index + 1,
                image_position_patient_mm=where,
                image_orientation_patient=turned,
                pixel_spacing_mm=apart,
                slice_thickness_mm=positive(measures, "SliceThickness"),
                rescale_slope=at_top[0] if slope is None else slope,
                rescale_intercept=at_top[1] if intercept is None else intercept,
                acquisition_number=integer(content, "FrameAcquisitionNumber"),
                convolution_kernel=text(first_item(own, "CTReconstructionSequence"), "ConvolutionKernel"),
                acquired_at=read_datetime(text(content, "FrameAcquisitionDateTime")),
                marks=_marks(content, first_item(own, "IrradiationEventIdentificationSequence"), own),
            )
        )
    return tuple(frames)


def _marks(
    content: Dataset | None, event: Dataset | None, groups: Sequence[Dataset] = ()
) -> tuple[tuple[str, str], ...]:
    """What else tells the acquisitions of one series apart, by the Standard's names; only what is there."""
    cardiac = first_item(groups, "CardiacSynchronizationSequence") if groups else content
    named = (
        ("Irradiation Event UID", text(event, "IrradiationEventUID")),
        ("Temporal Position Index", text(content, "TemporalPositionIndex")),
        ("Temporal Position Identifier", text(content, "TemporalPositionIdentifier")),
        ("Nominal Percentage of Cardiac Phase", text(cardiac, "NominalPercentageOfCardiacPhase")),
        ("Stack ID", text(content, "StackID")),
        ("KVP", text(first_item(groups, "CTXRayDetailsSequence"), "KVP")),
        ("Frame Type", text(first_item(groups, "CTImageFrameTypeSequence"), "FrameType")),
    )
    return tuple((name, value) for name, value in named if value)


def _acquired_at(dataset: Dataset) -> datetime | None:
    whole = read_datetime(text(dataset, "AcquisitionDateTime"))
    day = text(dataset, "AcquisitionDate") or text(dataset, "StudyDate")
    clock = text(dataset, "AcquisitionTime")
    return whole or (read_moment(day, clock) if clock else None)


def _asked(dataset: Dataset, plain: Sequence[str], coded: Sequence[str]) -> Iterator[str]:
    """What was asked, at the top level and in the Request Attributes Sequence (PS3.3 C.7.3.1), in words."""
    for level in (dataset, *sequence(dataset, "RequestAttributesSequence")):
        yield from (text(level, keyword) for keyword in plain)
        for keyword in coded:
            yield from meanings(level, keyword)


def _joined(found: Iterator[str]) -> str:
    return "; ".join(dict.fromkeys(one for one in found if one))


def _patient(dataset: Dataset) -> str:
    """A digest of the patient's ID and its issuer, so that patients are told apart and none is named."""
    return _digest(text(dataset, "PatientID"), text(dataset, "IssuerOfPatientID"))


def _study_key(dataset: Dataset) -> str:
    """A digest of what tells studies apart where they have no UID."""
    return _digest(*(text(dataset, keyword) for keyword in ("StudyDate", "StudyTime", "StudyID", "AccessionNumber")))


def _age_years(dataset: Dataset) -> int | None:
    """The patient's age at the examination in whole years: as it is told (AS), else by birth date and study date."""
    age = _AGE.fullmatch(text(dataset, "PatientAge"))
    if age is not None:
        return int(int(age.group(1)) / _AGES_A_YEAR[age.group(2)])
    born, day = read_birth_date(text(dataset, "PatientBirthDate")), read_date(text(dataset, "StudyDate"))
    if born is None or day is None:
        return None
    years = day.year - born.year - ((day.month, day.day) < (born.month, born.day))
    return years if 0 <= years <= OLDEST_YEARS else None


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16] if any(parts) else ""
