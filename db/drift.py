"""What results show in sum: of a week, and of a model in shadow beside the active one."""

from dataclasses import dataclass
from datetime import date

from analysis.findings import Profile

__all__ = ["ShadowAgreement", "WeekOfResults"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeekOfResults:
    """The results of a week, from Monday on, and of a profile: how many, how many flagged, and medians."""

    begun: date
    profile: Profile
    count: int
    flagged: int
    burden_percent: float
    noise_hu: float | None
    lesion_hu: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowAgreement:
    """How often both models would flag a series, only one of them, or none; ``dice`` is the mean of their opacities."""

    both: int
    shadow_only: int
    active_only: int
    neither: int
    failed: int
    dice: float | None

    @property
    def count(self) -> int:
        """The series that both have judged."""
        return self.both + self.shadow_only + self.active_only + self.neither
