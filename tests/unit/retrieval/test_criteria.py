"""Which studies are asked for."""

from datetime import date

import pytest

from dicom_node.retrieval import Criteria

FIRST, LAST = date(2026, 1, 1), date(2026, 1, 31)


@pytest.mark.parametrize(
    ("since", "until", "matching"),
    [
        (FIRST, LAST, "20260101-20260131"),
        (FIRST, None, "20260101-"),
        (None, LAST, "-20260131"),
        (FIRST, FIRST, "20260101"),
    ],
)
def test_dates_become_range_matching(since: date | None, until: date | None, matching: str) -> None:
    """A range, either half of it, and a single day, as PS3.4 section C.2.2.2.5 writes them."""
    assert Criteria(since=since, until=until).study_date == matching


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"since": LAST, "until": FIRST},
        {"patient_id": "A*"},
        {"patient_id": "A?"},
        {"study_instance_uid": "1.2\\1.3"},
    ],
)
def test_criteria_that_could_match_everything_are_refused(fields: dict) -> None:
    """Nothing given, an inverted range, wildcards and lists never reach the PACS."""
    with pytest.raises(ValueError):  # noqa: PT011 - every cause counts
        Criteria(**fields)
