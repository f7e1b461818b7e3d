"""What a series is known by in the store: its Series Instance UID, and no other patient's by the same one.

A UID that came under two studies (a copied data set, an anonymiser, a series split over two studies) names two series.
The first keeps the UID as its key; the key of another is the UID, a sign that no usable UID holds, and a digest of its
Study Instance UID.
"""

import hashlib

__all__ = ["marked_key", "marked_keys_begin", "received_series_uid"]

_MARK = "§"
_DIGITS = 16


def marked_key(series_instance_uid: str, study_instance_uid: str) -> str:
    """The key of a series whose UID another study holds already."""
    return (
        f"{marked_keys_begin(series_instance_uid)}{hashlib.sha256(study_instance_uid.encode()).hexdigest()[:_DIGITS]}"
    )


def marked_keys_begin(series_instance_uid: str) -> str:
    """What every marked key of this UID begins with."""
    return f"{series_instance_uid}{_MARK}"


def received_series_uid(key: str) -> str:
    """The Series Instance UID as the series' instances hold it."""
    return key.partition(_MARK)[0]
