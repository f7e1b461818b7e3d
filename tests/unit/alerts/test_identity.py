"""UIDs come from what they identify."""

import re
from dataclasses import replace

from pydicom.uid import UID
from sr_reports import make_findings

from alerts.reports.equipment import device_uid
from alerts.reports.identity import UNNAMED, derived_uid, tracking_uid


def test_derived_uids_are_valid_and_distinct_by_part() -> None:
    """Under 2.25, conformant, and parts do not run into each other."""
    uids = [
        *(derived_uid("a", "b"), derived_uid("ab"), derived_uid("a|b"), derived_uid("1:a|1:b")),
        *(tracking_uid("1.2", "Right lung"), tracking_uid("1.2", "Left lung"), tracking_uid("1.3", "Left lung")),
    ]
    assert len(set(uids)) == len(uids)
    for uid in uids:
        assert re.fullmatch(r"2\.25\.[1-9]\d*", uid)
        assert UID(uid).is_valid
    assert UID(UNNAMED).is_valid


def test_uids_never_change_between_releases() -> None:
    """The same content years later is the same object still: this value is part of the contract."""
    assert derived_uid("sr instance", "1.2.3") == "2.25.17725421708005060366680914207321687588"


def test_the_device_is_another_with_other_weights() -> None:
    """The same software with the same weights is one device wherever it runs."""
    here = make_findings().provenance
    assert device_uid(here) == device_uid(replace(here, device="cuda"))
    others = {device_uid(replace(here, weights_sha256="cd" * 32)), device_uid(replace(here, software_version="9"))}
    assert device_uid(here) not in others
    assert len(others) == 2
