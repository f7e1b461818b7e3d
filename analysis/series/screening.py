"""Which series are analysed, and why the others are not: all rules, in order, and the profile they lead to."""

import numpy as np
import numpy.typing as npt

from analysis.series import rules
from analysis.series.geometry import planes, slice_headers, stack
from analysis.series.pixel_rules import check_hounsfield_scale, check_lung_present
from analysis.series.profile import CTAC_CUES, CtacCues, tell_profile
from analysis.series.series import Series
from analysis.series.verdicts import Outcome, RuleResult, Screening
from analysis.series.volume import Volume

_STACK_CHECKS = (
    rules.check_orientation,
    rules.check_tilt,
    rules.check_distinct_positions,
    rules.check_alignment,
    rules.check_steps,
    rules.check_contact,
    rules.check_extent,
    rules.check_field_of_view,
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
        results += _geometry_results(series)
        results.append(rules.check_rescale(series))
    if not _eligible(results):
        return Screening(results=tuple(results), profile=None)
    profile, found = tell_profile(series, cues)
    return Screening(results=tuple(results), profile=profile, profile_cues=found)


def screen_volume(volume: Volume, lung_mask: npt.NDArray[np.bool_]) -> tuple[RuleResult, ...]:
    """Apply the rules that need pixels: the scale is HU, and there is lung, which ``lung_mask`` marks."""
    return (check_hounsfield_scale(volume), check_lung_present(volume, lung_mask))


def _geometry_results(series: Series) -> list[RuleResult]:
    headers = slice_headers(series)
    members = planes(headers)
    results = [rules.check_matrix(headers), rules.check_plane_attributes(headers, members)]
    whole = stack(members)
    if whole is None or not _eligible(results):
        return results
    return results + [check(whole) for check in _STACK_CHECKS]


def _eligible(results: list[RuleResult]) -> bool:
    return all(result.outcome is not Outcome.EXCLUDED for result in results)
