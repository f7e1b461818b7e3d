"""Which report replaces which."""

import re
from collections.abc import Callable
from dataclasses import replace

from pydicom.uid import UID

from alerts import AlertPolicy, ProfileThresholds, RequestContext, evaluate
from alerts.reports.identity import ReportIdentity, derived_uid, device_uid
from analysis.findings import Findings, Profile

FindingsFactory = Callable[..., Findings]


def _identity(findings: Findings, policy: AlertPolicy) -> ReportIdentity:
    return ReportIdentity.of(findings, evaluate(findings, RequestContext(), policy))


def test_the_same_result_has_the_same_uids_wherever_it_was_made(
    make_findings: FindingsFactory, policy: AlertPolicy
) -> None:
    """Runtime, device, software and the measured figures leave the identity alone: a re-run replaces."""
    first = make_findings()
    provenance = replace(first.provenance, runtime="onnx", device="cuda", software_version="9")
    second = make_findings(ggo_ml=300.0001, provenance=provenance)
    assert _identity(first, policy) == _identity(second, policy)


def test_what_determines_a_result_determines_its_uids(make_findings: FindingsFactory, policy: AlertPolicy) -> None:
    """Another series, revision, profile, model or threshold makes another report."""
    findings = make_findings()
    strict = AlertPolicy(
        thresholds=dict.fromkeys(Profile, ProfileThresholds(burden_percent=0.5, lesion_volume_ml=5.0)),
        expected_words=(),
    )
    others = [
        make_findings(series_instance_uid="1.2.3.5"),
        make_findings(revision=2),
        make_findings(profile=Profile.CTAC),
        make_findings(provenance=replace(findings.provenance, weights_sha256="cd" * 32)),
        make_findings(provenance=replace(findings.provenance, thresholds={"ggo": 0.6, "high_opacity": 0.4})),
    ]
    identities = [_identity(other, policy) for other in [findings, *others]] + [_identity(findings, strict)]
    assert len({identity.sop_instance_uid for identity in identities}) == len(identities)
    assert len({identity.series_instance_uid for identity in identities}) == len(identities)


def test_derived_uids_are_valid_and_distinct_by_part() -> None:
    """Under 2.25, conformant, and parts do not run into each other."""
    uids = [derived_uid("a", "b"), derived_uid("ab"), derived_uid("a|b"), derived_uid("1:a|1:b"), device_uid("0.1.0")]
    assert len(set(uids)) == len(uids)
    for uid in uids:
        assert re.fullmatch(r"2\.25\.[1-9]\d*", uid)
        assert UID(uid).is_valid


def test_uids_never_change_between_releases() -> None:
    """A re-run years later still replaces: this value is part of the contract."""
    assert derived_uid("sr instance", "1.2.3") == "2.25.17725421708005060366680914207321687588"
