"""A modality performed procedure step (MPPS): what a modality says that it made, and that it has ended."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["STEP_TRANSITIONS", "PerformedSeries", "StepEvent", "StepState"]


class StepState(StrEnum):
    """Performed Procedure Step Status (0040,0252), PS3.3 section C.4.14."""

    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    DISCONTINUED = "DISCONTINUED"


class StepEvent(StrEnum):
    """What can happen to it."""

    COMPLETE = "complete"
    DISCONTINUE = "discontinue"


STEP_TRANSITIONS: Mapping[tuple[StepState, StepEvent], StepState] = {
    # the modality made what was to be made
    (StepState.IN_PROGRESS, StepEvent.COMPLETE): StepState.COMPLETED,
    # it ended early; what it lists was made all the same
    (StepState.IN_PROGRESS, StepEvent.DISCONTINUE): StepState.DISCONTINUED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformedSeries:
    """A series of a step, and the instances that the modality lists for it; ``ValueError`` without a UID."""

    series_instance_uid: str
    sop_instance_uids: frozenset[str]

    def __post_init__(self) -> None:
        if not self.series_instance_uid:
            raise ValueError("a performed series needs its UID")
