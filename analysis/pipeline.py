"""The whole story: a series of files in, findings or a reasoned exclusion out."""

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from analysis.anatomy.fissures import Border
from analysis.anatomy.lobes import Lobes, estimate_lobes
from analysis.anatomy.lungs import Lungs, segment_lungs
from analysis.errors import OutOfMemory
from analysis.findings import Findings, Profile, Provenance
from analysis.measure import QUALITY_LIMITS, Measurements, QualityLimits, ScanTags, assess_quality, measure
from analysis.measure.hidden import with_hidden_lung
from analysis.measure.regions import HIGH_OPACITY
from analysis.models import ModelSet
from analysis.series.acquisitions import slices_of
from analysis.series.screening import none_eligible, screen_headers, screen_volume, volumes
from analysis.series.series import Series
from analysis.series.verdicts import Screening
from analysis.series.volume import Volume, assemble

if TYPE_CHECKING:
    from analysis.findings import Quality


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AnalysedSeries:
    """What an analysis found, and what the report, the segmentation and the pictures are made of.

    ``series`` names, where several volumes share it, the ``part`` that was analysed, which may not be its first.
    ``labels`` is uint8 (slice, row, column) on the canonical axes of ``volume``: 0 background, 1 GGO, 2 high opacity;
    it is 0 outside the lungs, and 2 in lung that is hidden. ``seconds`` tells how long each step took.
    """

    series: Series
    findings: Findings
    screening: Screening
    volume: Volume
    lungs: Lungs
    labels: npt.NDArray[np.uint8]
    lobes: Lobes
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExcludedSeries:
    """A series that is not analysed; ``screening.reason`` says why."""

    screening: Screening
    seconds: Mapping[str, float]


def analyse(
    series: Series,
    *,
    models: ModelSet,
    limits: QualityLimits = QUALITY_LIMITS,
    progress: Callable[[str], None] | None = None,
) -> AnalysedSeries | ExcludedSeries:
    """Screen, assemble, find the lungs, segment and measure one series; ``progress`` hears each step as it begins.

    Where several volumes share the series and the best of them is no chest, the next is tried, up to three in all.

    Memory: about five bytes a voxel beside the model's own.

    Raises:
        AnalysisError: files or pixels cannot be read, do not form a volume, or memory is short.
    """
    steps = _Steps(progress)
    tried: list[tuple[Series, Screening]] = []
    try:
        for volume in volumes(series):
            outcome = _analyse(volume, models, limits, steps)
            if isinstance(outcome, AnalysedSeries):
                return outcome
            tried.append((volume, outcome.screening))
    except MemoryError as error:
        raise OutOfMemory from error
    return ExcludedSeries(screening=none_eligible(tried), seconds=steps.seconds)


def _analyse(
    series: Series, models: ModelSet, limits: QualityLimits, steps: "_Steps"
) -> AnalysedSeries | ExcludedSeries:
    with steps("screening"):
        screening = screen_headers(series)
    if screening.profile is None:
        return ExcludedSeries(screening=screening, seconds=steps.seconds)
    with steps("volume"):
        volume = assemble(series)
    with steps("lungs"):
        lungs = segment_lungs(volume, models.lungs)
        screening = _with_pixel_rules(screening, volume, lungs)
    if screening.profile is None:
        return ExcludedSeries(screening=screening, seconds=steps.seconds)
    with steps("model"):
        mask = lungs.mask
        labels = models.lesions.segment(
            volume.hu, mask, slice_spacing_mm=volume.slice_spacing_mm, profile=screening.profile
        )
        labels = np.where(mask, labels, 0).astype(np.uint8)
        lungs = with_hidden_lung(volume, lungs, models.places)
        if lungs.hidden is not None:
            labels[lungs.hidden] = HIGH_OPACITY
    with steps("lobes"):
        lobes = estimate_lobes(volume, lungs, models.lobes)
    with steps("measures"):
        measurements = measure(volume, lungs, labels, lobes=lobes)
        header = slices_of(series).headers[0]
        quality = assess_quality(
            volume,
            lungs,
            screening.profile,
            screening,
            lesions=labels,
            tags=ScanTags(
                convolution_kernel=header.convolution_kernel, contrast_bolus_agent=header.contrast_bolus_agent
            ),
            lung_agreement=lungs.agreement,
            limits=limits,
        )
    findings = _findings(
        series,
        screening,
        profile=screening.profile,
        slice_count=len(volume.hu),
        measurements=measurements,
        quality=quality,
        provenance=models.provenance(screening.profile, hidden_lung=lungs.hidden is not None),
    )
    return AnalysedSeries(
        series=series,
        findings=replace(
            findings,
            lobe_confidence_percent=dict(lobes.confidence_percent),
            borders_on_fissures=tuple(border.value for border in Border if border in lobes.on_fissures),
        ),
        screening=screening,
        volume=volume,
        lungs=lungs,
        labels=labels,
        lobes=lobes,
        seconds=steps.seconds,
    )


def _with_pixel_rules(screening: Screening, volume: Volume, lungs: Lungs) -> Screening:
    """Add the pixel rules; a series that they exclude has no profile any more."""
    screened = replace(screening, results=screening.results + screen_volume(volume, lungs.mask))
    return screened if screened.eligible else replace(screened, profile=None)


def _findings(
    series: Series,
    screening: Screening,
    *,
    profile: Profile,
    slice_count: int,
    measurements: Measurements,
    quality: "Quality",
    provenance: Provenance,
) -> Findings:
    return Findings(
        study_instance_uid=series.study_instance_uid,
        series_instance_uid=series.series_instance_uid,
        revision=series.revision,
        profile=profile,
        profile_cues=screening.profile_cues,
        slice_count=slice_count,
        both_lungs=measurements.both_lungs,
        right_lung=measurements.right_lung,
        left_lung=measurements.left_lung,
        lobes=measurements.lobes,
        lss=measurements.lss,
        lhos=measurements.lhos,
        lesion_count=measurements.lesion_count,
        lesion_mean_hu=measurements.both_lungs.lesion_mean_hu,
        lesion_sd_hu=measurements.both_lungs.lesion_sd_hu,
        key_slices=measurements.key_slices,
        quality=quality,
        provenance=provenance,
        lobes_in_part=measurements.lobes_in_part,
        scores_absent_because=measurements.scores_absent_because,
        largest_lesion_ml=measurements.largest_lesion_ml,
        peripheral_lesion_percent=measurements.peripheral_lesion_percent,
        peripheral_lung_percent=measurements.peripheral_lung_percent,
    )


class _Steps:
    """Announces each step and keeps how long it took."""

    def __init__(self, progress: Callable[[str], None] | None) -> None:
        self._progress = progress
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Generator[None]:
        if self._progress is not None:
            self._progress(name)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
