"""Whether opacity counts as present, how much of it there is, and how soon it should be looked at."""

from enum import StrEnum

from alerts.alert import Category

MODERATE_FROM_PERCENT = 25.0
SEVERE_FROM_PERCENT = 50.0


class Presence(StrEnum):
    """Whether opacity reaches the thresholds of the policy; undetermined where the images do not allow an answer."""

    PRESENT = "present"
    ABSENT = "absent"
    UNDETERMINED = "undetermined"


class Severity(StrEnum):
    """Extent of opacity by burden. It grades volume, not the patient's illness."""

    NONE = "none"
    MILD = "mild"
    MODERATE = "moderate"
    SEVERE = "severe"


_CATEGORY_OF_SEVERITY = {
    Severity.MILD: Category.CATEGORY_3,
    Severity.MODERATE: Category.CATEGORY_2,
    Severity.SEVERE: Category.CATEGORY_1,
}


def severity_of(presence: Presence, burden_percent: float) -> Severity | None:
    """The extent of opacity that is present; none where it is absent, and None where that is undetermined.

    The bounds, 25 % and 50 % of the lung, are those between the grades 1, 2 and 3 of the lobe scores of Chaganti et
    al. 2020, applied to both lungs together.
    """
    if presence is Presence.UNDETERMINED:
        return None
    if presence is Presence.ABSENT:
        return Severity.NONE
    if burden_percent < MODERATE_FROM_PERCENT:
        return Severity.MILD
    return Severity.MODERATE if burden_percent < SEVERE_FROM_PERCENT else Severity.SEVERE


def category_of(severity: Severity) -> Category:
    """The ACR actionable-finding category of opacity that is present: mild 3, moderate 2, severe 1.

    The American College of Radiology ties category 1 to communication within minutes, 2 within hours, 3 within days.
    It does not grade opacities by volume: this assignment is Lungsentry's own. ``ValueError`` for ``Severity.NONE``.
    """
    if severity is Severity.NONE:
        raise ValueError("opacity that is absent has no category")
    return _CATEGORY_OF_SEVERITY[severity]
