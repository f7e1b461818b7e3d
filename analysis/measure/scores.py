"""Severity scores of lobes: LSS and LHOS (Chaganti et al. 2020, Radiology: Artificial Intelligence 2:e200048)."""

from collections.abc import Callable, Mapping

from analysis.anatomy.lobes import Lobes
from analysis.findings import Lobe, RegionFindings

AFFECTED_FROM_PERCENT = 1.0
"""The smallest share of a lobe that counts as affected: the paper's first bin begins at 1 %."""

_UPPER_BORDERS_PERCENT = (25.0, 50.0, 75.0)

_LOBE_NAMES = {
    Lobe.RIGHT_UPPER: "right upper",
    Lobe.RIGHT_MIDDLE: "right middle",
    Lobe.RIGHT_LOWER: "right lower",
    Lobe.LEFT_UPPER: "left upper",
    Lobe.LEFT_LOWER: "left lower",
}


def severity_score(percent: float) -> int:
    """Score the affected share of a lobe: 0 below 1 %, then 1, 2, 3, 4 up to and with 25, 50, 75 and 100 %.

    The paper's bins (1-25, 25-50, 50-75, 75-100 %) share their borders; here a border belongs to the lower bin.
    """
    if not 0.0 <= percent <= 100.0 + 1e-6:
        raise ValueError(f"a share lies between 0 and 100 %, not at {percent}")
    if percent < AFFECTED_FROM_PERCENT:
        return 0
    return 1 + sum(percent > border for border in _UPPER_BORDERS_PERCENT)


def total_score(lobes: Mapping[Lobe, RegionFindings], share: Callable[[RegionFindings], float]) -> int | None:
    """Sum the scores of all five lobes (0 to 20); None unless all five were told apart.

    ``share`` picks the percentage: the burden for LSS, the high opacity above -200 HU for LHOS.
    """
    if set(lobes) != set(Lobe) or any(region.lung_volume_ml == 0 for region in lobes.values()):
        return None
    return sum(severity_score(share(region)) for region in lobes.values())


def why_no_scores(lobes: Lobes | None) -> tuple[str, ...]:
    """Say for every lobe that stands in the way of a total why it does; nothing where all five are told and whole.

    A lobe of which the series shows only a part has no share that could be scored.
    """
    if lobes is None:
        return ("The lobes were not looked for.",)
    reasons: list[str] = []
    for lobe in Lobe:
        if lobe in lobes.cut:
            reasons.append(f"The {_LOBE_NAMES[lobe]} lobe is imaged in part.")
        elif lobe in lobes.untold:
            reasons.append(f"The {_LOBE_NAMES[lobe]} lobe cannot be told with confidence.")
        elif lobe not in lobes.confidence_percent:
            reasons.append(f"The {_LOBE_NAMES[lobe]} lobe is not in the images.")
    return tuple(reasons)
