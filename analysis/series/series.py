"""A CT series as its headers tell it: one frozen header an instance, grouped by Series Instance UID."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceHeader:
    """The attributes of one instance that screening and volume assembly need, in the Standard's terms.

    Attributes that an instance lacks are None (or empty text). For a multi-frame instance ``frames`` holds the
    per-frame geometry and the single-frame attributes are those of its first frame.
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
    acquisition_time: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameGeometry:
    """Where one frame of a multi-frame instance lies (PS3.3 C.7.6.16)."""

    frame_number: int
    image_position_patient_mm: tuple[float, float, float]
    image_orientation_patient: tuple[float, float, float, float, float, float]
    pixel_spacing_mm: tuple[float, float]
    slice_thickness_mm: float | None
    rescale_slope: float
    rescale_intercept: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyContext:
    """What else the study holds; a PT or NM series in the same frame of reference marks a CTAC."""

    modalities: frozenset[str] = frozenset()
    emission_frame_of_reference_uids: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The instances of one series (at least one), and what stands beside it in its study."""

    study_instance_uid: str
    series_instance_uid: str
    revision: int
    headers: tuple[InstanceHeader, ...]
    context: StudyContext

    def __post_init__(self) -> None:
        if not self.headers:
            raise ValueError("a series has at least one instance")


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesReading:
    """What was found below some paths: the series, and every file that is not an instance, with the reason."""

    series: tuple[Series, ...]
    unreadable: tuple[tuple[Path, str], ...]
