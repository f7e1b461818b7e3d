"""What an analysis finds: volumes, percentages, scores, quality and where they come from.

Volumes are in millilitres on the native grid, attenuation in Hounsfield units (HU), shares in percent.
PO, PHO, LSS and LHOS follow Chaganti et al. 2020 (Radiology: Artificial Intelligence 2:e200048).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
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

    ``high_density_volume_ml`` is the part of the lesions above -200 HU, whatever their class. ``lesion_mean_hu`` and
    ``lesion_sd_hu`` weigh each voxel by its volume; they are None where there is no lesion.
    """

    lung_volume_ml: float
    ggo_volume_ml: float
    high_opacity_volume_ml: float
    high_density_volume_ml: float
    lesion_mean_hu: float | None = None
    lesion_sd_hu: float | None = None

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
    """How good the images were for this purpose, in a word and in reasons a reader understands.

    The figures are those that the reasons rest on; None where one cannot be told. ``lung_coverage_percent`` is the
    imaged share of the lungs' height, ``right_lung_coverage_percent`` and ``left_lung_coverage_percent`` what of each
    was imaged and found. ``lacking_lungs`` names those that were not found as a whole though the images show their
    place: removed, collapsed or opaque. ``noise_hu`` is the spread in soft tissue, ``noise_grain_mm`` how far it hangs
    together (small: a sharp kernel). ``air_hu`` is the median of the air around the body, ``lung_hu`` that of the lung
    outside the opacities, ``lung_spread_hu`` between its 5th and 95th percentile, ``blood_hu`` that of heart and great
    vessels. ``motion_jump_mm`` is the largest jump between neighbouring slices, as if the table had slipped by so much;
    ``cut_off_percent`` the share of the lungs' outline that lies on the border of the field of view,
    ``lung_agreement`` the Dice of the lung methods.
    """

    level: QualityLevel
    reasons: tuple[str, ...] = ()
    lung_coverage_percent: float | None = None
    right_lung_coverage_percent: float | None = None
    left_lung_coverage_percent: float | None = None
    lacking_lungs: tuple[str, ...] = ()
    noise_hu: float | None = None
    noise_grain_mm: float | None = None
    air_hu: float | None = None
    lung_hu: float | None = None
    lung_spread_hu: float | None = None
    blood_hu: float | None = None
    motion_jump_mm: float | None = None
    cut_off_percent: float | None = None
    lung_agreement: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """A network that took part: its name and version, the weights it was given, and what computed it."""

    name: str
    version: str
    weights_sha256: str
    runtime: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Which models, on what, made the result; enough to make it again.

    The first fields are those of the model that told the lesions. ``lungs`` and ``lobes`` are None in results of
    versions that did not name them; ``places`` is, unless it told where a lung lies that was not found.
    """

    model_name: str
    model_version: str
    weights_sha256: str
    thresholds: Mapping[str, float]
    runtime: str
    device: str
    software_version: str
    lungs: Algorithm | None = None
    lobes: Algorithm | None = None
    places: Algorithm | None = None

    @property
    def algorithms(self) -> Mapping[str, Algorithm]:
        """Every network that is named, by what it tells: ``lesions``, ``lungs``, ``lobes``, ``places``."""
        lesions = Algorithm(
            name=self.model_name,
            version=self.model_version,
            weights_sha256=self.weights_sha256,
            runtime=self.runtime,
        )
        named = {"lesions": lesions, "lungs": self.lungs, "lobes": self.lobes, "places": self.places}
        return {part: algorithm for part, algorithm in named.items() if algorithm is not None}


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

    ``lobes`` are estimated from the shape of the lungs, but for the borders named in ``borders_on_fissures``; it holds
    those that could be told, with the mean certainty of the estimate in ``lobe_confidence_percent``; of
    ``lobes_in_part`` the series shows a part only. ``lss`` and ``lhos``
    are None unless all five were told, and whole; ``scores_absent_because`` says why. ``lesion_mean_hu``,
    ``lesion_sd_hu``, ``largest_lesion_ml`` and ``peripheral_lesion_percent`` are None where there is no lesion; the
    last is the share of the opacities within 20 mm of the outside, ``peripheral_lung_percent`` that of the lungs.
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
    lobes_in_part: tuple[Lobe, ...] = ()
    borders_on_fissures: tuple[str, ...] = ()
    scores_absent_because: tuple[str, ...] = ()
    largest_lesion_ml: float | None = None
    peripheral_lesion_percent: float | None = None
    peripheral_lung_percent: float | None = None

    @property
    def burden_percent(self) -> float:
        """Pneumonia burden of both lungs."""
        return self.both_lungs.burden_percent

    @property
    def reliable(self) -> bool:
        """Whether the figures may be shown as measurements; images that cannot be analysed yield none."""
        return self.quality.level is not QualityLevel.NOT_ANALYSABLE

    def summary(self) -> dict[str, object]:
        """The figures most people want, flat, as ``analyze --json`` prints them.

        Volumes of lung are there always, figures of opacity only where the images could be analysed: else null.
        """
        whole, quality, provenance = self.both_lungs, self.quality, self.provenance
        opacity: dict[str, object] = {
            "ggo_volume_ml": whole.ggo_volume_ml,
            "high_opacity_volume_ml": whole.high_opacity_volume_ml,
            "burden_percent": whole.burden_percent,
            "ggo_percent": whole.ggo_percent,
            "po_percent": whole.po_percent,
            "pho_percent": whole.pho_percent,
            "pho_hu_percent": whole.pho_hu_percent,
            "lss": self.lss,
            "lhos": self.lhos,
            "right_burden_percent": self.right_lung.burden_percent,
            "left_burden_percent": self.left_lung.burden_percent,
            "lesion_count": self.lesion_count,
            "largest_lesion_ml": self.largest_lesion_ml,
            "lesion_mean_hu": self.lesion_mean_hu,
            "lesion_sd_hu": self.lesion_sd_hu,
            "peripheral_lesion_percent": self.peripheral_lesion_percent,
        }
        return {
            "lung_volume_ml": whole.lung_volume_ml,
            **(opacity if self.reliable else dict.fromkeys(opacity)),
            "scores_absent_because": list(self.scores_absent_because),
            "right_lung_volume_ml": self.right_lung.lung_volume_ml,
            "left_lung_volume_ml": self.left_lung.lung_volume_ml,
            "peripheral_lung_percent": self.peripheral_lung_percent,
            "lobes": {lobe.value: self._lobe_summary(lobe) for lobe in self.lobes},
            "borders_on_fissures": list(self.borders_on_fissures),
            "quality": quality.level.value,
            "quality_reasons": list(quality.reasons),
            "lung_coverage_percent": quality.lung_coverage_percent,
            "right_lung_coverage_percent": quality.right_lung_coverage_percent,
            "left_lung_coverage_percent": quality.left_lung_coverage_percent,
            "lacking_lungs": list(quality.lacking_lungs),
            "noise_hu": quality.noise_hu,
            "noise_grain_mm": quality.noise_grain_mm,
            "air_hu": quality.air_hu,
            "lung_hu": quality.lung_hu,
            "lung_spread_hu": quality.lung_spread_hu,
            "blood_hu": quality.blood_hu,
            "motion_jump_mm": quality.motion_jump_mm,
            "cut_off_percent": quality.cut_off_percent,
            "lung_agreement": quality.lung_agreement,
            "model_name": provenance.model_name,
            "model_version": provenance.model_version,
            "weights_sha256": provenance.weights_sha256,
            "runtime": provenance.runtime,
            "device": provenance.device,
            "software_version": provenance.software_version,
            "algorithms": {part: asdict(algorithm) for part, algorithm in provenance.algorithms.items()},
        }

    def _lobe_summary(self, lobe: Lobe) -> dict[str, object]:
        region = self.lobes[lobe]
        return {
            "lung_volume_ml": region.lung_volume_ml,
            "ggo_volume_ml": region.ggo_volume_ml if self.reliable else None,
            "high_opacity_volume_ml": region.high_opacity_volume_ml if self.reliable else None,
            "burden_percent": region.burden_percent if self.reliable else None,
            "in_part": lobe in self.lobes_in_part,
            "confidence_percent": self.lobe_confidence_percent.get(lobe),
        }
