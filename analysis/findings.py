"""What an analysis finds: volumes, percentages, scores, quality and where they come from.

Volumes are in millilitres on the native grid, attenuation in Hounsfield units (HU), shares in percent.
PO, PHO, LSS and LHOS follow Chaganti et al. 2020 (Radiology: Artificial Intelligence 2:e200048).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Profile(StrEnum):
    """The kind of examination; each has its own model, thresholds and policy."""

    CHEST_CT = "chest_ct"
    CTAC = "ctac"


class Lobe(StrEnum):
    """The five lobes of the lungs."""

    RIGHT_UPPER = "RUL"
    RIGHT_MIDDLE = "RML"
    RIGHT_LOWER = "RLL"
    LEFT_UPPER = "LUL"
    LEFT_LOWER = "LLL"


class QualityLevel(StrEnum):
    """How far the measurement can be relied upon."""

    DIAGNOSTIC = "diagnostic"
    LIMITED = "limited"
    NOT_ANALYSABLE = "not_analysable"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionFindings:
    """The opacities of one region (both lungs, a lung, a lobe); lung volume includes the lesions.

    ``high_density_volume_ml`` is the part of the lesions above -200 HU, whatever their class.
    """

    lung_volume_ml: float
    ggo_volume_ml: float
    high_opacity_volume_ml: float
    high_density_volume_ml: float

    def __post_init__(self) -> None:
        lesion_ml = self.ggo_volume_ml + self.high_opacity_volume_ml
        volumes = (self.lung_volume_ml, self.ggo_volume_ml, self.high_opacity_volume_ml, self.high_density_volume_ml)
        if min(volumes) < 0:
            raise ValueError(f"a volume is negative: {volumes}")
        tolerance_ml = 1e-6 * max(1.0, self.lung_volume_ml)
        if lesion_ml > self.lung_volume_ml + tolerance_ml or self.high_density_volume_ml > lesion_ml + tolerance_ml:
            raise ValueError(f"lesions exceed the region that holds them: {volumes}")

    @property
    def lesion_volume_ml(self) -> float:
        """Volume of all opacities."""
        return self.ggo_volume_ml + self.high_opacity_volume_ml

    @property
    def burden_percent(self) -> float:
        """Pneumonia burden: opacities as a share of the lung (Killekar et al. 2022, section 3.2)."""
        return self._percent(self.lesion_volume_ml)

    @property
    def po_percent(self) -> float:
        """Percentage of opacity; the same quantity as the burden under its other name."""
        return self.burden_percent

    @property
    def ggo_percent(self) -> float:
        """Ground-glass opacity as a share of the lung."""
        return self._percent(self.ggo_volume_ml)

    @property
    def pho_percent(self) -> float:
        """Percentage of high opacity by the model's class."""
        return self._percent(self.high_opacity_volume_ml)

    @property
    def pho_hu_percent(self) -> float:
        """Percentage of high opacity by the rule of Chaganti et al.: lesion voxels above -200 HU."""
        return self._percent(self.high_density_volume_ml)

    def _percent(self, volume_ml: float) -> float:
        return 100.0 * volume_ml / self.lung_volume_ml if self.lung_volume_ml else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How good the images were for this purpose, in a word and in reasons a reader understands."""

    level: QualityLevel
    reasons: tuple[str, ...] = ()
    lung_coverage_percent: float | None = None
    noise_hu: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Which model, on what, made the result; enough to make it again."""

    model_name: str
    model_version: str
    weights_sha256: str
    thresholds: Mapping[str, float]
    runtime: str
    device: str
    software_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySlice:
    """A slice worth looking at, with the area of its opacities."""

    sop_instance_uid: str
    frame_number: int | None
    slice_index: int
    position_mm: float
    ggo_area_mm2: float
    high_opacity_area_mm2: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Everything measured on one series at one revision.

    ``lobes`` are estimated from the shape of the lungs; it holds those that could be told, with the mean certainty of
    the estimate in ``lobe_confidence_percent``. ``lss`` and ``lhos`` are None unless all five were told, and whole.
    ``lesion_mean_hu`` and ``lesion_sd_hu`` are None where there is no lesion.
    """

    study_instance_uid: str
    series_instance_uid: str
    revision: int
    profile: Profile
    profile_cues: tuple[str, ...]
    slice_count: int
    both_lungs: RegionFindings
    right_lung: RegionFindings
    left_lung: RegionFindings
    lobes: Mapping[Lobe, RegionFindings]
    lss: int | None
    lhos: int | None
    lesion_count: int
    lesion_mean_hu: float | None
    lesion_sd_hu: float | None
    key_slices: tuple[KeySlice, ...]
    quality: Quality
    provenance: Provenance
    lobe_confidence_percent: Mapping[Lobe, float] = field(default_factory=dict)

    @property
    def burden_percent(self) -> float:
        """Pneumonia burden of both lungs."""
        return self.both_lungs.burden_percent

    def summary(self) -> dict[str, object]:
        """The figures most people want, flat, as ``analyze --json`` prints them."""
        whole = self.both_lungs
        return {
            "lung_volume_ml": whole.lung_volume_ml,
            "ggo_volume_ml": whole.ggo_volume_ml,
            "high_opacity_volume_ml": whole.high_opacity_volume_ml,
            "burden_percent": whole.burden_percent,
            "po_percent": whole.po_percent,
            "pho_percent": whole.pho_percent,
            "pho_hu_percent": whole.pho_hu_percent,
            "lss": self.lss,
            "lhos": self.lhos,
            "right_lung_volume_ml": self.right_lung.lung_volume_ml,
            "right_burden_percent": self.right_lung.burden_percent,
            "left_lung_volume_ml": self.left_lung.lung_volume_ml,
            "left_burden_percent": self.left_lung.burden_percent,
            "lesion_count": self.lesion_count,
            "lesion_mean_hu": self.lesion_mean_hu,
            "lesion_sd_hu": self.lesion_sd_hu,
            "quality": self.quality.level.value,
            "quality_reasons": list(self.quality.reasons),
            "lung_coverage_percent": self.quality.lung_coverage_percent,
            "model_name": self.provenance.model_name,
            "model_version": self.provenance.model_version,
            "weights_sha256": self.provenance.weights_sha256,
            "runtime": self.provenance.runtime,
            "device": self.provenance.device,
            "software_version": self.provenance.software_version,
        }
