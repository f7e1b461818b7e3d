"""Which series are analysed, and why the others are not: all rules, in order, and the profile they lead to.

Of several volumes that share a series UID the best is tried first, then the next.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from analysis.series import rules, stack_rules
from analysis.series.acquisitions import Slices, slices_of
from analysis.series.geometry import stack
from analysis.series.pixel_rules import check_hounsfield_scale, check_lung_present, check_stored_values
from analysis.series.profile import CTAC_CUES, CtacCues, tell_profile
from analysis.series.series import Series
from analysis.series.verdicts import Outcome, Rule, RuleResult, Screening, noted
from analysis.series.volume import Volume

_STACK_CHECKS = (
    stack_rules.check_orientation,
    stack_rules.check_tilt,
    stack_rules.check_distinct_positions,
    stack_rules.check_alignment,
    stack_rules.check_steps,
    stack_rules.check_contact,
    stack_rules.check_extent,
    stack_rules.check_field_of_view,
)

__all__ = [
    "MOST_VOLUMES",
    "Outcome",
    "RuleResult",
    "Screening",
    "none_eligible",
    "screen_headers",
    "screen_series",
    "screen_volume",
    "volumes",
]

MOST_VOLUMES = 3
"""Each that is no chest costs its decoding; phases of another organ are many."""


def volumes(series: Series) -> Iterator[Series]:
    """The volumes of a series in the order in which they are tried, up to three: each as the series with its ``part``.

    There is one, unless several share the series UID.
    """
    yield series
    if not _eligible(_kind_results(series)):
        return
    count = min(len(slices_of(series).others) + 1, MOST_VOLUMES)
    yield from (replace(series, part=part) for part in range(series.part + 1, count))


def screen_series(series: Series) -> tuple[Series, Screening]:
    """The first of the series' volumes that no rule on headers excludes, with its screening.

    Where all are excluded it is the series as it was given, and ``none_eligible`` of them.
    """
    tried: list[tuple[Series, Screening]] = []
    for volume in volumes(series):
        screening = screen_headers(volume)
        if screening.eligible:
            return volume, screening
        tried.append((volume, screening))
    return series, none_eligible(tried)


def none_eligible(tried: Sequence[tuple[Series, Screening]]) -> Screening:
    """The screening of the first volume, with a note for each of the others of what excluded it."""
    (_, first), *others = tried
    return replace(first, results=(*first.results, *(_neither(volume, screening) for volume, screening in others)))


def _neither(volume: Series, screening: Screening) -> RuleResult:
    why = screening.exclusion
    value = f"{slices_of(volume).part} neither: {why.rule if why else 'not eligible'}: {why.value if why else ''}"
    return noted(Rule.ACQUISITION, value, why.expected if why else "")


def screen_headers(series: Series, *, cues: CtacCues = CTAC_CUES) -> Screening:
    """Apply every rule that needs no pixels to one volume; the profile is told when none of them excludes it.

    All rules are applied, also after one has excluded the series, as far as they make sense: geometry is looked at
    only in images of a class that can be analysed.
    """
    results = _kind_results(series)
    if _eligible(results):
        results += [rules.check_image_type(series), rules.check_description(series), rules.check_body_part(series)]
        slices = slices_of(series)
        results += _slice_results(series, slices)
        if _eligible(results):
            results += _geometry_results(slices)
    if not _eligible(results):
        return Screening(results=tuple(results), profile=None)
    profile, found = tell_profile(series, cues)
    return Screening(results=tuple(results), profile=profile, profile_cues=found)


def screen_volume(volume: Volume, lung_mask: npt.NDArray[np.bool_]) -> tuple[RuleResult, ...]:
    """Apply the rules that need pixels; ``lung_mask`` (slice, row, column) marks the lungs."""
    return (check_stored_values(volume), check_hounsfield_scale(volume), check_lung_present(volume, lung_mask))


def _kind_results(series: Series) -> list[RuleResult]:
    """Whether these are images of a kind whose slices can be looked at."""
    return [rules.check_sop_class(series), rules.check_modality(series)]


def _slice_results(series: Series, slices: Slices) -> list[RuleResult]:
    """What the slices are, before it is asked where they lie."""
    return [
        rules.check_identifiers(series),
        rules.check_repeats(series),
        rules.check_frames(slices.headers),
        rules.check_plane_attributes(slices.headers),
        rules.check_rescale(slices.planes),
        rules.check_pixel_format(slices.headers),
        rules.check_compression(slices.headers),
        rules.check_matrix(slices),
        rules.check_acquisition(slices),
    ]


def _geometry_results(slices: Slices) -> list[RuleResult]:
    whole = stack(slices.planes)
    return [check(whole) for check in _STACK_CHECKS] if whole is not None else []


def _eligible(results: list[RuleResult]) -> bool:
    return all(result.outcome is not Outcome.EXCLUDED for result in results)
