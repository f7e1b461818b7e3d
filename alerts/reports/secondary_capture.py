"""Secondary captures: the page of a result and its key slices, as pictures that every viewer shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from highdicom import CoordinateSystemNames, PhotometricInterpretationValues
from highdicom.sc import SCImage
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian

from alerts.artefact import ArtefactKind, Draft
from alerts.reports.equipment import MANUFACTURER, NO_SERIAL_NUMBER, PRODUCT, ascii_text
from alerts.reports.evidence import Evidence, SourceInstance, as_received
from alerts.reports.identity import UNNAMED, name_series
from alerts.reports.result_object import CHEST, complete
from analysis.findings import Findings, KeySlice
from analysis.panels import WINDOW, Image, rgb
from analysis.pictures import key_slice_picture

if TYPE_CHECKING:
    from analysis.pipeline import AnalysedSeries  # torch takes seconds to load, and a picture needs none

SUMMARY_NUMBER: Final = 9704
KEY_SLICES_NUMBER: Final = 9705
MOST_KEY_SLICES: Final = 5
_SOURCE_IMAGE = Code("121322", "DCM", "Source Image for Image Processing Operation")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Picture:
    """A picture that becomes an image: what it shows, and of which slices."""

    pixels: Image
    shows: str
    slices: tuple[KeySlice, ...]
    orientation: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """What tells the summary from the key slices."""

    artefact: ArtefactKind
    names: tuple[str, ...]
    description: str
    series_number: int


def summary_capture(findings: Findings, page: Image, sources: Evidence) -> Draft:
    """The page of the result; ``page`` is (row, column, channel) in red, green, blue."""
    kind = _Kind(
        artefact=ArtefactKind.SUMMARY,
        names=("summary.dcm",),
        description="Lungsentry summary (research)",
        series_number=SUMMARY_NUMBER,
    )
    picture = _Picture(
        pixels=page, shows=f"Summary of the result; axial and coronal overlays, {WINDOW}", slices=findings.key_slices
    )
    return _captures(kind, [picture], findings, sources)[0]


def key_slice_captures(analysed: "AnalysedSeries", sources: Evidence) -> tuple[Draft, ...]:
    """The slices with most opacity, plain and marked side by side; at most five, in one series."""
    findings = analysed.findings
    slices = findings.key_slices[:MOST_KEY_SLICES]
    kind = _Kind(
        artefact=ArtefactKind.KEY_SLICES,
        names=tuple(f"key-slice-{number}.dcm" for number in range(1, len(slices) + 1)),
        description="Lungsentry key slices (research)",
        series_number=KEY_SLICES_NUMBER,
    )
    pictures = [
        _Picture(
            pixels=rgb(key_slice_picture(analysed.volume, analysed.lungs, analysed.labels, one.slice_index)),
            shows=f"Axial slice {one.slice_index + 1} at {one.position_mm:.1f} mm, plain and with opacities, {WINDOW}",
            slices=(one,),
            orientation=("L", "P"),
        )
        for one in slices
    ]
    return _captures(kind, pictures, findings, sources)


def _captures(kind: _Kind, pictures: Sequence[_Picture], findings: Findings, sources: Evidence) -> tuple[Draft, ...]:
    with as_received():
        images = [_image(kind, number, one, findings, sources) for number, one in enumerate(pictures, start=1)]
        named = name_series(images, kind.artefact.value)
    return tuple(one.draft(kind.artefact, name) for name, one in zip(kind.names, named, strict=True))


def _image(kind: _Kind, number: int, picture: _Picture, findings: Findings, sources: Evidence) -> SCImage:
    date, time = sources.moment
    image = SCImage(
        pixel_array=picture.pixels,
        photometric_interpretation=PhotometricInterpretationValues.RGB,
        bits_allocated=8,
        coordinate_system=CoordinateSystemNames.PATIENT,
        study_instance_uid=findings.study_instance_uid,
        series_instance_uid=UNNAMED,
        series_number=kind.series_number,
        series_description=kind.description,
        sop_instance_uid=UNNAMED,
        instance_number=number,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=PRODUCT,
        software_versions=ascii_text(findings.provenance.software_version),
        device_serial_number=NO_SERIAL_NUMBER,
        patient_orientation=picture.orientation or ("L", "F"),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        series_date=date,
        series_time=time,
        content_date=date,
        content_time=time,
    )
    complete(image, findings, sources)
    if picture.orientation is None:  # a page has none
        image.add_new("PatientOrientation", "CS", None)
    image.Modality = "OT"
    image.ImageType = ["DERIVED", "SECONDARY"]
    image.ConversionType = "WSD"
    for keyword in ("DateOfSecondaryCapture", "TimeOfSecondaryCapture"):
        if keyword in image:
            delattr(image, keyword)
    image.BodyPartExamined = CHEST
    image.BurnedInAnnotation = "NO"
    image.RecognizableVisualFeatures = "NO"
    image.DerivationDescription = picture.shows
    classes = {one.sop_instance_uid: one for one in sources.instances}
    shown = list(dict.fromkeys(one.sop_instance_uid for one in picture.slices)) or [
        sources.instances[0].sop_instance_uid
    ]
    image.SourceImageSequence = [_source(classes[uid]) for uid in shown]
    series = Dataset()
    series.SeriesInstanceUID = findings.series_instance_uid
    series.ReferencedInstanceSequence = [reference(classes[uid]) for uid in shown]
    image.ReferencedSeriesSequence = [series]
    return image


def reference(instance: SourceInstance) -> Dataset:
    """An instance by its class and UID."""
    item = Dataset()
    item.ReferencedSOPClassUID = instance.sop_class_uid
    item.ReferencedSOPInstanceUID = instance.sop_instance_uid
    return item


def _source(instance: SourceInstance) -> Dataset:
    item = reference(instance)
    item.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(_SOURCE_IMAGE)]
    return item
