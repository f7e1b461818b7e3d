"""Where a received series stands, and the life it may lead."""

from enum import StrEnum

__all__ = ["SERIES_TRANSITIONS", "SeriesEvent", "SeriesState"]


class SeriesState(StrEnum):
    """Where a series stands."""

    RECEIVING = "receiving"
    COMPLETE = "complete"
    QUEUED = "queued"
    ANALYSED = "analysed"
    EXCLUDED = "excluded"
    FAILED = "failed"


class SeriesEvent(StrEnum):
    """What can happen to a series."""

    COMPLETE = "complete"
    LATE_INSTANCE = "late_instance"
    ENQUEUE = "enqueue"
    REQUEUE = "requeue"
    EXCLUDE = "exclude"
    ANALYSE = "analyse"
    FAIL = "fail"
    RECONSIDER = "reconsider"


SERIES_TRANSITIONS: dict[tuple[SeriesState, SeriesEvent], SeriesState] = {
    # the evidence says that nothing more is to come
    (SeriesState.RECEIVING, SeriesEvent.COMPLETE): SeriesState.COMPLETE,
    # something came all the same: a new revision begins
    (SeriesState.COMPLETE, SeriesEvent.LATE_INSTANCE): SeriesState.RECEIVING,
    (SeriesState.QUEUED, SeriesEvent.LATE_INSTANCE): SeriesState.RECEIVING,
    (SeriesState.ANALYSED, SeriesEvent.LATE_INSTANCE): SeriesState.RECEIVING,
    (SeriesState.EXCLUDED, SeriesEvent.LATE_INSTANCE): SeriesState.RECEIVING,
    (SeriesState.FAILED, SeriesEvent.LATE_INSTANCE): SeriesState.RECEIVING,
    # screening found it eligible; its job is written in the same transaction
    (SeriesState.COMPLETE, SeriesEvent.ENQUEUE): SeriesState.QUEUED,
    # an administrator asks for another run of the same revision
    (SeriesState.ANALYSED, SeriesEvent.REQUEUE): SeriesState.QUEUED,
    (SeriesState.FAILED, SeriesEvent.REQUEUE): SeriesState.QUEUED,
    (SeriesState.EXCLUDED, SeriesEvent.REQUEUE): SeriesState.QUEUED,
    # a rule excluded it, by its headers or by its pixels
    (SeriesState.COMPLETE, SeriesEvent.EXCLUDE): SeriesState.EXCLUDED,
    (SeriesState.QUEUED, SeriesEvent.EXCLUDE): SeriesState.EXCLUDED,
    # a better reconstruction of the same acquisition came later
    (SeriesState.ANALYSED, SeriesEvent.EXCLUDE): SeriesState.EXCLUDED,
    # the reconstruction that was chosen in its place cannot be analysed
    (SeriesState.EXCLUDED, SeriesEvent.RECONSIDER): SeriesState.COMPLETE,
    # its result is recorded
    (SeriesState.QUEUED, SeriesEvent.ANALYSE): SeriesState.ANALYSED,
    # its job is a dead letter, or was cancelled
    (SeriesState.QUEUED, SeriesEvent.FAIL): SeriesState.FAILED,
}
