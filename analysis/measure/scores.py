"""Severity scores of lobes: LSS and LHOS (Chaganti et al. 2020, Radiology: Artificial Intelligence 2:e200048)."""

from collections.abc import Callable, Mapping

from analysis.findings import Lobe, RegionFindings

AFFECTED_FROM_PERCENT = 1.0
"""The smallest share of a lobe that counts as affected: the paper's first bin begins at 1 %."""

_UPPER_BORDERS_PERCENT = (25.0, 50.0, 75.0)


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
