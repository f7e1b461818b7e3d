"""Which series are analysed, and why the others are not: all rules, in order, and the profile they lead to."""

import numpy as np
import numpy.typing as npt

from analysis.series import rules, stack_rules
from analysis.series.acquisitions import Slices, slices_of
from analysis.series.geometry import stack
from analysis.series.pixel_rules import check_hounsfield_scale, check_lung_present, check_stored_values
from analysis.series.profile import CTAC_CUES, CtacCues, tell_profile
from analysis.series.series import Series
from analysis.series.verdicts import Outcome, RuleResult, Screening
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

__all__ = ["Outcome", "RuleResult", "Screening", "screen_headers", "screen_volume"]


def screen_headers(series: Series, *, cues: CtacCues = CTAC_CUES) -> Screening:
    """Apply every rule that needs no pixels; the profile is told when none of them excludes the series.

    All rules are applied, also after one has excluded the series, as far as they make sense: geometry is looked at
    only in images of a class that can be analysed.
    """
    results = [rules.check_sop_class(series), rules.check_modality(series)]
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
