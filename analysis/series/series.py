"""A CT series as its headers tell it: one frozen header an instance, grouped by Series Instance UID."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelFormat:
    """How an instance says that its pixels are stored (PS3.3 C.7.6.3); None where it says nothing."""

    samples_per_pixel: int | None = None
    photometric_interpretation: str = ""
    bits_allocated: int | None = None
    bits_stored: int | None = None
    high_bit: int | None = None
    signed: bool = False
    lossy: bool = False
    lossy_ratio: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceHeader:
    """The attributes of one instance that screening and volume assembly need, in the Standard's terms.

    Attributes that an instance lacks are None (or empty text). For a multi-frame instance ``frames`` holds the
    per-frame geometry and the single-frame attributes are those of its first frame; ``frame_groups`` is the number of
    its per-frame functional groups. ``marks`` holds what else tells acquisitions apart, by the Standard's names;
    ``patient`` and ``study_key`` are digests, so that nothing here names anybody. ``derived`` are the identifiers that
    the file lacks and that were derived from its content.
    """

    path: Path
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    study_instance_uid: str
    series_instance_uid: str
    frame_of_reference_uid: str | None
    modality: str
    image_type: tuple[str, ...]
    series_number: int | None
    instance_number: int | None
    acquisition_number: int | None
    series_description: str
    study_description: str
    protocol_name: str
    requested_procedure: str
    reason_for_request: str
    body_part_examined: str
    patient_position: str
    convolution_kernel: str
    manufacturer: str
    manufacturer_model_name: str
    rows: int | None
    columns: int | None
    number_of_frames: int
    pixel_spacing_mm: tuple[float, float] | None
    image_orientation_patient: tuple[float, float, float, float, float, float] | None
    image_position_patient_mm: tuple[float, float, float] | None
    slice_thickness_mm: float | None
    gantry_detector_tilt_deg: float | None
    rescale_slope: float | None
    rescale_intercept: float | None
    rescale_type: str
    reconstruction_diameter_mm: float | None
    kvp: float | None
    exposure_mas: float | None
    contrast_bolus_agent: str
    frames: tuple["FrameGeometry", ...] = ()
    frame_groups: int = 0
    acquired_at: datetime | None = None
    marks: tuple[tuple[str, str], ...] = ()
    patient: str = ""
    study_key: str = ""
    age_years: int | None = None
    pixels: PixelFormat = PixelFormat()
    derived: tuple[str, ...] = ()

    @property
    def identifiers(self) -> dict[str, str]:
        """The four UIDs by their keywords."""
        return {
            "SOPClassUID": self.sop_class_uid,
            "SOPInstanceUID": self.sop_instance_uid,
            "StudyInstanceUID": self.study_instance_uid,
            "SeriesInstanceUID": self.series_instance_uid,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameGeometry:
    """Where one frame of a multi-frame instance lies (PS3.3 C.7.6.16)."""

    frame_number: int
    image_position_patient_mm: tuple[float, float, float]
    image_orientation_patient: tuple[float, float, float, float, float, float]
    pixel_spacing_mm: tuple[float, float]
    slice_thickness_mm: float | None
    rescale_slope: float | None
    rescale_intercept: float | None
    acquisition_number: int | None = None
    convolution_kernel: str = ""
    acquired_at: datetime | None = None
    marks: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyContext:
    """What else the study holds; a PT or NM series in the same frame of reference marks a CTAC."""

    modalities: frozenset[str] = frozenset()
    emission_frame_of_reference_uids: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The instances of one series (at least one), and what stands beside it in its study.

    ``repeats`` are instances left out because another one of the series shows the same slice with the same pixels.
    ``part`` says which of the volumes that share the series is meant, where there are several: 0 is the best.
    """

    study_instance_uid: str
    series_instance_uid: str
    revision: int
    headers: tuple[InstanceHeader, ...]
    context: StudyContext
    repeats: tuple[InstanceHeader, ...] = ()
    part: int = 0

    def __post_init__(self) -> None:
        if not self.headers:
            raise ValueError("a series has at least one instance")


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesReading:
    """What was found below some paths: the series, and every file that is not an instance, with the reason.

    ``notes`` tell, once each, what holds for many files.
    """

    series: tuple[Series, ...]
    unreadable: tuple[tuple[Path, str], ...]
    notes: tuple[str, ...] = ()
