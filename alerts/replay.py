"""What another policy would have made of a result."""

from enum import StrEnum

from alerts.alert import Alert

__all__ = ["PolicyChange", "change_of"]


class PolicyChange(StrEnum):
    """What would be otherwise."""

    FLAGGED = "flagged"
    NOT_FLAGGED = "no longer flagged"
    INCIDENTAL = "incidental"
    EXPECTED = "expected"


def change_of(before: Alert | None, after: Alert | None) -> PolicyChange | None:
    """What would change of a result that was flagged so, or not; None where nothing would.

    The category rests on the burden alone: a policy moves it only with the flag.
    """
    if before is None or after is None:
        if before is after:
            return None
        return PolicyChange.FLAGGED if before is None else PolicyChange.NOT_FLAGGED
    if before.incidental == after.incidental:
        return None
    return PolicyChange.INCIDENTAL if after.incidental else PolicyChange.EXPECTED
