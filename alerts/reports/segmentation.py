"""Segmentations on the grid of the source images: opacities and, where they are asked for, lungs and lobes, BINARY.

And the opacities as a LABELMAP (DICOM supplement 243), where that is asked for.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, cast

import cv2
import numpy as np
import numpy.typing as npt
from highdicom import PixelMeasuresSequence, PlaneOrientationSequence, PlanePositionSequence
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as ItemSequence
from pydicom.sr.coding import Code
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian
from pydicom.valuerep import format_number_as_ds

from alerts import wording
from alerts.artefact import ArtefactKind, Draft
from alerts.reports import codes
from alerts.reports.equipment import MANUFACTURER, NO_SERIAL_NUMBER, PRODUCT, ascii_text, segment_algorithm
from alerts.reports.evidence import Evidence, SegmentReference, SourceInstance, as_received
from alerts.reports.identity import UNNAMED, NamedObject, derived_uid, name_object, tracking_uid
from alerts.reports.result_object import CHEST, complete, private_scheme
from analysis.anatomy.lobes import LOBE_LABELS
from analysis.anatomy.lungs import LEFT, RIGHT
from analysis.colours import GGO_COLOUR, HIGH_OPACITY_COLOUR, LOBE_COLOURS, LUNG_COLOUR, Colour
from analysis.findings import Findings, Lobe
from analysis.measure.regions import GGO, HIGH_OPACITY
from analysis.series.acquisitions import slices_of
from analysis.series.geometry import Plane, stack

if TYPE_CHECKING:
    from analysis.pipeline import AnalysedSeries  # torch takes seconds to load, and a report needs none

OPACITIES_NUMBER: Final = 9702
LOBES_NUMBER: Final = 9703
LABEL_MAP_NUMBER: Final = 9708

_Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenSegmentation:
    """A segmentation, and its segments by the identifiers that their findings are tracked by."""

    draft: Draft
    segments: Mapping[str, SegmentReference]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """What tells one segmentation of a result from another."""

    artefact: ArtefactKind
    name: str
    label: str
    description: str
    series_number: int
    encoding: SegmentationTypeValues = SegmentationTypeValues.BINARY


@dataclass(frozen=True, slots=True, kw_only=True)
class _Segment:
    """One segment: the label of its voxels, and what they are."""

    label: int
    identifier: str
    category: Code
    finding: Code
    told_by: str
    colour: Colour
    laterality: Code | None = None


_OPACITIES = _Kind(
    artefact=ArtefactKind.OPACITIES,
    name="opacities.dcm",
    label="OPACITIES",
    description="Lungsentry opacities SEG (research)",
    series_number=OPACITIES_NUMBER,
)
_LABEL_MAP = _Kind(
    artefact=ArtefactKind.LABEL_MAP,
    name="opacities-label-map.dcm",
    label="OPACITIES",
    description="Lungsentry opacities label map (research)",
    series_number=LABEL_MAP_NUMBER,
    encoding=SegmentationTypeValues.LABELMAP,
)
_LOBES = _Kind(
    artefact=ArtefactKind.LOBES,
    name="lobes.dcm",
    label="LOBES",
    description="Lungsentry lobes SEG (research)",
    series_number=LOBES_NUMBER,
)
_OPAQUE = (
    _Segment(
        label=GGO,
        identifier=wording.both_lungs(wording.GGO),
        category=codes.MORPHOLOGICALLY_ABNORMAL,
        finding=codes.GROUND_GLASS_OPACITY,
        told_by="lesions",
        colour=GGO_COLOUR,
    ),
    _Segment(
        label=HIGH_OPACITY,
        identifier=wording.both_lungs(wording.HIGH_OPACITY),
        category=codes.MORPHOLOGICALLY_ABNORMAL,
        finding=codes.HIGH_OPACITY,
        told_by="lesions",
        colour=HIGH_OPACITY_COLOUR,
    ),
)
_SIDES = {
    RIGHT: ("Right lung", codes.RIGHT, {Lobe.RIGHT_UPPER, Lobe.RIGHT_MIDDLE, Lobe.RIGHT_LOWER}),
    LEFT: ("Left lung", codes.LEFT, {Lobe.LEFT_UPPER, Lobe.LEFT_LOWER}),
}


def opacities_segmentation(analysed: "AnalysedSeries", sources: Evidence) -> WrittenSegmentation | None:
    """Ground-glass and high opacity as segments of their own; None where there is neither, or no place to put it.

    A class without a voxel has no segment.
    """
    return _segmentation(_OPACITIES, _OPAQUE, analysed.labels, analysed=analysed, sources=sources)


def opacities_label_map(analysed: "AnalysedSeries", sources: Evidence) -> WrittenSegmentation | None:
    """The same as one map of labels, which no report refers to: it is for whoever takes no other segmentation."""
    written = _segmentation(_LABEL_MAP, _OPAQUE, analysed.labels, analysed=analysed, sources=sources)
    return None if written is None else replace(written, segments={})


def lobes_segmentation(analysed: "AnalysedSeries", sources: Evidence) -> WrittenSegmentation | None:
    """The lobes that are told, and whole each lung of which none is; None where there is no place to put them."""
    sides = analysed.lungs.labels
    labels = np.where(sides > 0, analysed.lobes.labels, 0).astype(np.uint8)
    told = set(analysed.lobes.confidence_percent)
    for side, (_, _, lobes) in _SIDES.items():
        if not lobes & told:
            labels[sides == side] = side
    return _segmentation(_LOBES, tuple(_anatomy(told)), labels, analysed=analysed, sources=sources)


def _anatomy(told: set[Lobe]) -> Iterator[_Segment]:
    for side, (name, laterality, lobes) in _SIDES.items():
        if not lobes & told:
            yield _Segment(
                label=side,
                identifier=name,
                category=codes.ANATOMICAL_STRUCTURE,
                finding=codes.LUNG,
                told_by="lungs",
                colour=LUNG_COLOUR,
                laterality=laterality,
            )
    for label, lobe in LOBE_LABELS.items():
        if lobe in told:
            anatomy, laterality = codes.LOBES[lobe]
            yield _Segment(
                label=label,
                identifier=wording.LOBE_NAMES[lobe],
                category=codes.ANATOMICAL_STRUCTURE,
                finding=anatomy,
                told_by="lobes",
                colour=LOBE_COLOURS[lobe],
                laterality=laterality,
            )


def _segmentation(
    kind: _Kind,
    candidates: Sequence[_Segment],
    labels: _Labels,
    *,
    analysed: "AnalysedSeries",
    sources: Evidence,
) -> WrittenSegmentation | None:
    findings = analysed.findings
    inside = labels[analysed.lungs.box or ()]
    segments = [segment for segment in candidates if (inside == segment.label).any()]
    whole = stack(slices_of(analysed.series).planes)
    if not segments or whole is None:
        return None
    native = cast("_Labels", analysed.volume.to_native(_numbered(labels, segments)))
    date, time = sources.moment
    with as_received():
        placed = _placed(whole.planes, native)
        if placed is None:
            return None
        images, pixels = placed
        built = Segmentation(
            source_images=images,
            pixel_array=pixels,
            segmentation_type=kind.encoding,
            segment_descriptions=[
                _described(number, segment, findings) for number, segment in enumerate(segments, start=1)
            ],
            series_instance_uid=UNNAMED,
            series_number=kind.series_number,
            series_description=kind.description,
            sop_instance_uid=UNNAMED,
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=PRODUCT,
            software_versions=ascii_text(findings.provenance.software_version),
            device_serial_number=NO_SERIAL_NUMBER,
            content_label=kind.label,
            content_description=wording.RESEARCH_USE[:64],
            transfer_syntax_uid=ExplicitVRLittleEndian,
            omit_empty_frames=True,
            series_date=date,
            series_time=time,
            content_date=date,
            content_time=time,
        )
        complete(built, findings, sources)
        built.BodyPartExamined = CHEST
        built.CodingSchemeIdentificationSequence = [private_scheme()]
        _name_dimensions(built, derived_uid("dimensions", kind.label))
        named = name_object(built, kind.artefact.value, transfer_syntax_uid=DeflatedExplicitVRLittleEndian)
    return _written(kind, named, segments, findings, sources)


def _numbered(labels: _Labels, segments: Sequence[_Segment]) -> _Labels:
    """The labels as numbers of segments, which they are already where no segment is missing."""
    numbers = np.zeros(256, np.uint8)
    for number, segment in enumerate(segments, start=1):
        numbers[segment.label] = number
    if all(number == segment.label for number, segment in enumerate(segments, start=1)):
        return labels
    return np.asarray(cv2.LUT(labels.reshape(-1, labels.shape[-1]), numbers), np.uint8).reshape(labels.shape)


def _placed(planes: Sequence[Plane], native: _Labels) -> tuple[list[Dataset], _Labels] | None:
    """The source images and the labels over their pixels.

    None where the images name no frame of reference, or are several multi-frame instances.
    """
    header = planes[0].header
    if any(not plane.header.frame_of_reference_uid for plane in planes):
        return None
    if all(plane.frame_number is None for plane in planes):
        return _images(planes), native
    if any(plane.header.sop_instance_uid != header.sop_instance_uid for plane in planes):
        return None
    pixels = np.zeros((header.number_of_frames, *native.shape[1:]), np.uint8)
    for plane, plane_labels in zip(planes, native, strict=True):
        pixels[(plane.frame_number or 1) - 1] = plane_labels
    return [_frames(planes)], pixels


def _images(planes: Sequence[Plane]) -> list[Dataset]:
    """The source images, in the orientation of the first, as the volume is."""
    first = _image(planes[0])
    images = [first]
    for plane in planes[1:]:
        image = Dataset()
        image.update(first)
        image.add_new("SOPClassUID", "UI", plane.header.sop_class_uid)
        image.add_new("SOPInstanceUID", "UI", plane.header.sop_instance_uid)
        image.add_new("ImagePositionPatient", "DS", _decimals(plane.position_mm))
        images.append(image)
    return images


def _image(plane: Plane) -> Dataset:
    """A source image as a segmentation refers to it and takes its grid over; nothing about the patient."""
    header = plane.header
    image = Dataset()
    image.SOPClassUID = header.sop_class_uid
    image.SOPInstanceUID = header.sop_instance_uid
    image.StudyInstanceUID = header.study_instance_uid
    image.SeriesInstanceUID = header.series_instance_uid
    image.FrameOfReferenceUID = header.frame_of_reference_uid
    image.PositionReferenceIndicator = ""
    image.Modality = "CT"
    image.Rows, image.Columns = header.rows, header.columns
    for keyword in (
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "AccessionNumber",
        "StudyID",
        "StudyDate",
        "StudyTime",
        "ReferringPhysicianName",
    ):
        setattr(image, keyword, "")
    if header.pixels.lossy:
        image.LossyImageCompression = "01"
        if header.pixels.lossy_ratio is not None:
            image.LossyImageCompressionRatio = format_number_as_ds(header.pixels.lossy_ratio)
    if plane.frame_number is None:
        image.ImagePositionPatient = _decimals(plane.position_mm)
        image.ImageOrientationPatient = _decimals((*plane.row_cosines, *plane.column_cosines))
        image.PixelSpacing = _decimals(plane.spacing_mm)
        if plane.thickness_mm:
            image.SliceThickness = format_number_as_ds(plane.thickness_mm)
    return image


def _frames(planes: Sequence[Plane]) -> Dataset:
    """A multi-frame source with the places of its frames; frames that are no slices lie where the first one does."""
    first = planes[0]
    image = _image(first)
    image.NumberOfFrames = first.header.number_of_frames
    shared = Dataset()
    shared.PlaneOrientationSequence = PlaneOrientationSequence("PATIENT", (*first.row_cosines, *first.column_cosines))
    shared.PixelMeasuresSequence = PixelMeasuresSequence(
        pixel_spacing=first.spacing_mm, slice_thickness=first.thickness_mm or None
    )
    image.SharedFunctionalGroupsSequence = ItemSequence([shared])
    places = {plane.frame_number: plane.position_mm for plane in planes}
    groups: list[Dataset] = []
    for number in range(1, first.header.number_of_frames + 1):
        group = Dataset()
        group.PlanePositionSequence = PlanePositionSequence("PATIENT", places.get(number, first.position_mm))
        groups.append(group)
    image.PerFrameFunctionalGroupsSequence = ItemSequence(groups)
    return image


def _decimals(values: Sequence[float]) -> list[str]:
    return [format_number_as_ds(float(value)) for value in values]


def _described(number: int, segment: _Segment, findings: Findings) -> SegmentDescription:
    described = SegmentDescription(
        segment_number=number,
        segment_label=segment.identifier,
        segmented_property_category=segment.category,
        segmented_property_type=segment.finding,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=segment_algorithm(findings.provenance, segment.told_by),
        tracking_uid=tracking_uid(findings.series_instance_uid, segment.identifier),
        tracking_id=segment.identifier,
        anatomic_regions=None if segment.laterality else [codes.LUNG],
        display_color=CIELabColor.from_rgb(*segment.colour),
    )
    if segment.laterality is not None:
        modifier = Dataset()
        modifier.CodeValue = segment.laterality.value
        modifier.CodingSchemeDesignator = segment.laterality.scheme_designator
        modifier.CodeMeaning = segment.laterality.meaning
        described.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [modifier]
    return described


def _name_dimensions(built: Segmentation, uid: str) -> None:
    """The organization of the dimensions by a UID that is the same on every run, in place of one drawn at random."""
    built.DimensionOrganizationSequence[0].DimensionOrganizationUID = uid
    for index in built.DimensionIndexSequence:
        index.DimensionOrganizationUID = uid


def _written(
    kind: _Kind, named: NamedObject, segments: Sequence[_Segment], findings: Findings, sources: Evidence
) -> WrittenSegmentation:
    instance = SourceInstance(
        sop_class_uid=named.sop_class_uid,
        sop_instance_uid=named.sop_instance_uid,
        study_instance_uid=findings.study_instance_uid,
        series_instance_uid=named.series_instance_uid,
        moment=sources.last,
    )
    return WrittenSegmentation(
        draft=named.draft(kind.artefact, kind.name),
        segments={
            segment.identifier: SegmentReference(instance=instance, number=number)
            for number, segment in enumerate(segments, start=1)
        },
    )
