"""How far a measurement can be relied upon, in a word, in figures, and in reasons a reader understands."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from analysis.anatomy.lungs import Lungs
from analysis.findings import Profile, Quality, QualityLevel
from analysis.measure.attenuation import LungAttenuation, measure_air_hu, measure_blood_hu, measure_lung
from analysis.measure.coverage import Coverage, measure_coverage
from analysis.measure.lacking import LackingLung
from analysis.measure.motion import measure_motion_mm
from analysis.measure.noise import Noise, measure_noise
from analysis.series.kernels import Sharpness, sharpness
from analysis.series.verdicts import Outcome, Rule, Screening
from analysis.series.volume import Volume


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityLimits:
    """From where on images count as limited, or as not analysable."""

    limited_noise_hu: float = 45.0
    unusable_noise_hu: float = 150.0
    limited_coverage_percent: float = 95.0
    unusable_coverage_percent: float = 20.0
    limited_slice_step_mm: float = 5.5
    limited_motion_mm: float = 4.0
    limited_cut_off_percent: float = 0.5
    limited_air_error_hu: float = 60.0
    unusable_air_error_hu: float = 150.0
    expiratory_lung_hu: float = -750.0
    least_lung_spread_hu: float = 110.0
    contrast_blood_hu: float = 90.0
    sharp_grain_mm: float = 0.6
    limited_agreement: float = 0.9
    unusable_agreement: float = 0.6


QUALITY_LIMITS = QualityLimits()

AIR_HU = -1000.0
"""Air, by the definition of the Hounsfield scale."""

_FINE_PIXEL_MM = 1.0
"""Wider pixels cannot show the grain of a sharp kernel: noise looks fine-grained in them whatever the kernel."""
_NOTED_RULES = {
    Rule.SLICE_CONTACT: "The slices do not touch; lesions between them go unseen.",
    Rule.SLICE_STEP: "The slices are unequally spaced.",
    Rule.GANTRY_TILT: "The gantry was tilted.",
    Rule.COMPRESSION: "The images are not as the scanner made them: {value}.",
    Rule.ACQUISITION: "The series holds several acquisitions or reconstructions, of which one was analysed: {value}.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanTags:
    """What the headers say that bears on quality, in the Standard's terms; empty where they say nothing."""

    convolution_kernel: str = ""
    contrast_bolus_agent: str = ""


@dataclass(slots=True)
class _Verdict:
    """Reasons as they are found; one that makes the images unusable is told first."""

    unusable: list[str] = field(default_factory=list[str])
    limiting: list[str] = field(default_factory=list[str])

    def add(self, reason: str, *, unusable: bool = False) -> None:
        (self.unusable if unusable else self.limiting).append(reason)

    @property
    def level(self) -> QualityLevel:
        if self.unusable:
            return QualityLevel.NOT_ANALYSABLE
        return QualityLevel.LIMITED if self.limiting else QualityLevel.DIAGNOSTIC


def assess_quality(
    volume: Volume,
    lungs: Lungs,
    profile: Profile,
    screening: Screening,
    *,
    lesions: npt.NDArray[np.uint8] | None = None,
    tags: ScanTags | None = None,
    lung_agreement: float | None = None,
    limits: QualityLimits = QUALITY_LIMITS,
) -> Quality:
    """Judge coverage, calibration, noise, kernel, spacing, motion, contrast and breath; a reason for each shortcoming.

    ``lesions`` (slice, row, column) is not 0 where there is opacity. Lung that is hidden says nothing of the images.
    ``lung_agreement`` is the Dice of two methods that looked for the lungs. A CTAC is limited by its nature: not an
    inspiration scan, and noisy. Time grows with some 16 slices, and with the box of the lungs at 4 mm.
    """
    seen = lungs.seen
    coverage, noise = measure_coverage(volume, seen), measure_noise(volume)
    air, lung = measure_air_hu(volume), measure_lung(volume, seen, lesions)
    blood, jump = measure_blood_hu(volume, seen), measure_motion_mm(volume, seen)
    verdict = _Verdict()
    _judge_coverage(coverage, limits, verdict)
    if lungs.hidden is not None:
        hidden_ml = float(lungs.hidden.sum(axis=(1, 2)) @ volume.voxel_volumes_ml())
        verdict.add(f"Soft tissue where it belongs counts as high opacity, its border guessed: {hidden_ml:.0f} mL.")
    _judge_scale(air, lung, limits, verdict)
    _judge_lungs(lung, lung_agreement, profile, limits, verdict)
    _judge_noise(noise, volume, tags or ScanTags(), limits, verdict)
    _judge_slices(volume, screening, jump, limits, verdict)
    _judge_contrast(blood, tags or ScanTags(), limits, verdict)
    return Quality(
        level=verdict.level,
        reasons=(*verdict.unusable, *verdict.limiting),
        lung_coverage_percent=coverage.percent if coverage else None,
        right_lung_coverage_percent=coverage.percent_of("right") if coverage else None,
        left_lung_coverage_percent=coverage.percent_of("left") if coverage else None,
        lacking_lungs=tuple(coverage.lacking) if coverage else (),
        noise_hu=noise.sd_hu if noise else None,
        noise_grain_mm=noise.grain_mm if noise else None,
        air_hu=air,
        lung_hu=lung.median_hu if lung else None,
        lung_spread_hu=lung.spread_hu if lung else None,
        blood_hu=blood,
        motion_jump_mm=jump,
        cut_off_percent=coverage.cut_off_percent if coverage else None,
        lung_agreement=lung_agreement,
    )


def _judge_coverage(coverage: Coverage | None, limits: QualityLimits, verdict: _Verdict) -> None:
    if coverage is None or coverage.percent < limits.unusable_coverage_percent:
        verdict.add("Too little of the lungs is imaged.", unusable=True)
    if coverage is None:
        return
    for lung, lacks in coverage.lacking.items():
        verdict.add(_lack_of(lung, lacks))
    for lung, end in coverage.ends:
        verdict.add(f"The {lung} lung is cut off {end}.")
    if coverage.ends and coverage.percent < limits.limited_coverage_percent:
        verdict.add(f"About {coverage.percent:.0f} % of the lungs' height is imaged; figures are of that part.")
    if coverage.cut_off_percent > limits.limited_cut_off_percent:
        lungs = " and ".join(coverage.sides)
        verb = "lungs are" if len(coverage.sides) > 1 else "lung is"
        verdict.add(f"The {lungs} {verb} cut off by the field of view.")


def _lack_of(lung: str, lacks: LackingLung) -> str:
    """What was not found of a lung, and how that shows."""
    if lacks.missing:
        return f"The {lung} lung was not found (removed, collapsed or opaque)."
    signs = [f"{100 * lacks.volume_share:.0f} % of the other's volume"]
    if lacks.height_mm:
        signs.append(f"{lacks.height_mm:.0f} mm less high")
    if lacks.depth_mm:
        signs.append(f"{lacks.depth_mm:.0f} mm less deep")
    return f"Part of the {lung} lung was not found (removed, collapsed or opaque): {', '.join(signs)}."


def _judge_scale(air: float | None, lung: LungAttenuation | None, limits: QualityLimits, verdict: _Verdict) -> None:
    if air is not None and abs(air - AIR_HU) > limits.limited_air_error_hu:
        unusable = abs(air - AIR_HU) > limits.unusable_air_error_hu
        verdict.add(f"Air around the body reads {air:.0f} HU, not {AIR_HU:.0f}.", unusable=unusable)
    if lung is None:
        verdict.add("There is too little lung outside opacities to check it.")
    elif lung.spread_hu < limits.least_lung_spread_hu:
        verdict.add(
            f"What looks like lung is as even as foam ({lung.spread_hu:.0f} HU wide): it has no vessels.", unusable=True
        )


def _judge_lungs(
    lung: LungAttenuation | None,
    agreement: float | None,
    profile: Profile,
    limits: QualityLimits,
    verdict: _Verdict,
) -> None:
    if lung is not None and lung.median_hu > limits.expiratory_lung_hu:
        verdict.add(
            f"The lungs are dense outside the opacities (median {lung.median_hu:.0f} HU): expiration, or disease "
            "that was not told from it."
        )
    if agreement is not None and agreement < limits.limited_agreement:
        verdict.add(
            f"Two ways to find the lungs disagree (Dice {agreement:.2f}).",
            unusable=agreement < limits.unusable_agreement,
        )
    if profile is Profile.CTAC:
        verdict.add("A CT for attenuation correction: shallow breathing and low dose can mimic ground-glass opacity.")


def _judge_noise(noise: Noise | None, volume: Volume, tags: ScanTags, limits: QualityLimits, verdict: _Verdict) -> None:
    if noise is not None and noise.sd_hu > limits.limited_noise_hu:
        unusable = noise.sd_hu > limits.unusable_noise_hu
        verdict.add(f"The images are noisy ({noise.sd_hu:.0f} HU in soft tissue).", unusable=unusable)
    kernel = tags.convolution_kernel.split("\\", maxsplit=1)[0].strip()
    told = sharpness(tags.convolution_kernel) if kernel else Sharpness.MEDIUM
    fine = noise is not None and noise.grain_mm < limits.sharp_grain_mm and volume.column_spacing_mm <= _FINE_PIXEL_MM
    if told is Sharpness.SHARP or (told is Sharpness.MEDIUM and fine):
        named = f"kernel {kernel}" if told is Sharpness.SHARP else "by its fine-grained noise"
        verdict.add(f"A sharp reconstruction ({named}): edges and noise read denser than they are.")


def _judge_slices(
    volume: Volume, screening: Screening, jump: float | None, limits: QualityLimits, verdict: _Verdict
) -> None:
    for result in screening.results:
        if result.outcome is Outcome.NOTED and result.rule in _NOTED_RULES:
            verdict.add(_NOTED_RULES[result.rule].format(value=result.value))
    if volume.slice_spacing_mm > limits.limited_slice_step_mm:
        verdict.add(f"The slices are {volume.slice_spacing_mm:.1f} mm apart.")
    if jump is not None and jump > limits.limited_motion_mm:
        verdict.add(f"The chest jumps between slices, as by {jump:.0f} mm: the patient breathed or moved.")


def _judge_contrast(blood: float | None, tags: ScanTags, limits: QualityLimits, verdict: _Verdict) -> None:
    bright = blood is not None and blood > limits.contrast_blood_hu
    if bright:
        verdict.add(f"Contrast agent in the blood ({blood:.0f} HU): lung and vessels read denser than without.")
    elif tags.contrast_bolus_agent:
        verdict.add("The headers name a contrast agent, though the blood is not bright.")
