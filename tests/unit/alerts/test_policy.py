"""When findings become an alert."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts import (
    AgeBand,
    AlertPolicy,
    ClauseName,
    PolicyChange,
    Presence,
    ProfileThresholds,
    RequestContext,
    Severity,
    change_of,
    evaluate,
)
from alerts.alert import Category
from analysis.findings import Findings, Profile, Quality, QualityLevel

FindingsFactory = Callable[..., Findings]
NOTHING_ASKED = RequestContext()
LUNG_ML = 4000.0
opacity_ml = st.floats(min_value=0, max_value=LUNG_ML, allow_nan=False)
CATEGORY_RANK = {None: 0, Category.CATEGORY_3: 1, Category.CATEGORY_2: 2, Category.CATEGORY_1: 3}


@given(first=opacity_ml, second=opacity_ml)
def test_more_opacity_never_alerts_less(
    first: float, second: float, make_findings: FindingsFactory, policy: AlertPolicy
) -> None:
    """With more opacity in the same lungs an alert is at least as urgent."""
    ranks = []
    for volume_ml in sorted((first, second)):
        findings = make_findings(lung_ml=LUNG_ML, ggo_ml=volume_ml, high_ml=0.0)
        alert = evaluate(findings, NOTHING_ASKED, policy).alert
        ranks.append(CATEGORY_RANK[alert.category if alert else None])
    assert ranks == sorted(ranks)


@given(lung_ml=st.floats(min_value=50, max_value=9000), share=st.floats(min_value=0, max_value=1))
def test_an_alert_needs_burden_and_volume(
    lung_ml: float, share: float, make_findings: FindingsFactory, policy: AlertPolicy
) -> None:
    """There is an alert exactly where both thresholds are reached."""
    findings = make_findings(lung_ml=lung_ml, ggo_ml=lung_ml * share, high_ml=0.0)
    whole = findings.both_lungs
    reached = whole.burden_percent >= 1.0 and whole.lesion_volume_ml >= 5.0
    assert (evaluate(findings, NOTHING_ASKED, policy).alert is not None) == reached


@pytest.mark.parametrize(
    ("profile", "volumes_ml", "alerts"),
    [
        (Profile.CHEST_CT, (4000.0, 40.0), True),
        (Profile.CHEST_CT, (4000.0, 39.999), False),
        (Profile.CHEST_CT, (300.0, 4.999), False),
        (Profile.CHEST_CT, (300.0, 5.0), True),
        (Profile.CTAC, (4000.0, 40.0), False),
        (Profile.CTAC, (4000.0, 80.0), True),
        (Profile.CTAC, (300.0, 9.0), False),
    ],
)
def test_thresholds_are_of_the_profile_and_included(
    profile: Profile,
    volumes_ml: tuple[float, float],
    alerts: bool,
    make_findings: FindingsFactory,
    policy: AlertPolicy,
) -> None:
    """A value at its threshold alerts, one just below does not, and each profile has its own."""
    lung_ml, ggo_ml = volumes_ml
    findings = make_findings(profile=profile, lung_ml=lung_ml, ggo_ml=ggo_ml, high_ml=0.0)
    assert (evaluate(findings, NOTHING_ASKED, policy).alert is not None) is alerts


@given(volume_ml=opacity_ml)
def test_images_that_cannot_be_analysed_never_alert(
    volume_ml: float, make_findings: FindingsFactory, policy: AlertPolicy
) -> None:
    """However much was measured: presence is undetermined, and the decision says why."""
    quality = Quality(level=QualityLevel.NOT_ANALYSABLE, reasons=("half of the lungs is missing",))
    findings = make_findings(lung_ml=LUNG_ML, ggo_ml=volume_ml, high_ml=0.0, quality=quality)
    decision = evaluate(findings, NOTHING_ASKED, policy)
    assert decision.alert is None
    assert decision.presence is Presence.UNDETERMINED
    assert decision.severity is None
    assert "half of the lungs is missing" in decision.explanation


@given(volume_ml=opacity_ml)
def test_where_a_lung_was_not_found_absence_is_no_answer(
    volume_ml: float, make_findings: FindingsFactory, policy: AlertPolicy
) -> None:
    """What reaches the thresholds alerts all the same; less is undetermined, with the figures and what lacks."""
    quality = Quality(level=QualityLevel.LIMITED, reasons=("no left lung",), lacking_lungs=("left",))
    findings = make_findings(lung_ml=LUNG_ML, ggo_ml=volume_ml, high_ml=0.0, quality=quality)
    whole = replace(findings, quality=Quality(level=QualityLevel.LIMITED))
    decision, otherwise = (evaluate(one, NOTHING_ASKED, policy) for one in (findings, whole))
    assert (decision.alert is None) is (otherwise.alert is None)
    if otherwise.presence is Presence.ABSENT:
        assert (decision.presence, decision.severity) == (Presence.UNDETERMINED, None)
        assert "Opacity takes up" in decision.explanation
        assert "no left lung" in decision.explanation


def test_limited_quality_alerts_and_says_so(make_findings: FindingsFactory, policy: AlertPolicy) -> None:
    """A reader learns from the alert itself that the images were poor, and why."""
    quality = Quality(level=QualityLevel.LIMITED, reasons=("noise of 60 HU",))
    alert = evaluate(make_findings(quality=quality), NOTHING_ASKED, policy).alert
    assert alert is not None
    assert any("limited" in reason and "noise of 60 HU" in reason for reason in alert.reasons)


@pytest.mark.parametrize(
    "text",
    [
        "COVID-19",
        "covid19 follow-up",
        "r/o Covid 19",
        "CT^THORAX_COVID",
        "CT_COVID_19",
        "SARS-CoV-2 pos",
        "SARS CoV 2",
        "SARSCoV2",
        "suspected PNEUMONIA?",
        "Ｐｎｅｕｍｏｎｉａ",  # noqa: RUF001 - full-width letters occur in Japanese descriptions
        "Corona",
    ],
)
@pytest.mark.parametrize(
    "field", ["study_description", "series_description", "protocol_name", "requested_procedure", "reason_for_request"]
)
def test_a_named_word_makes_opacities_expected(
    text: str, field: str, make_findings: FindingsFactory, policy: AlertPolicy
) -> None:
    """In any text of the request, in any case and with any separator."""
    alert = evaluate(make_findings(), RequestContext(**{field: text}), policy).alert
    assert alert is not None
    assert not alert.incidental
    assert any(field.replace("_", " ") in reason for reason in alert.reasons)


@pytest.mark.parametrize(
    "text", ["", "Coronary CTA", "CORONAL", "pneumoniae culture", "Discovid", "Thorax", "sars", "cov"]
)
def test_part_of_a_word_is_not_the_word(text: str, make_findings: FindingsFactory, policy: AlertPolicy) -> None:
    """A coronary CT was not asked for because of the coronavirus."""
    alert = evaluate(make_findings(), RequestContext(study_description=text), policy).alert
    assert alert is not None
    assert alert.incidental


@pytest.mark.parametrize(
    ("age", "flagged", "limit"),
    [
        (None, True, "at least 1 %"),
        (18, True, "at least 1 %"),
        (17, False, "at least 15 % (0 to under 18 years)"),
        (0, False, "at least 15 % (0 to under 18 years)"),
    ],
)
def test_an_age_band_goes_before_the_thresholds_of_its_profile(
    age: int | None, flagged: bool, limit: str, make_findings: FindingsFactory, policy: AlertPolicy
) -> None:
    """A burden of 10 % is flagged but for children, for whom 15 % are asked for; an unknown age is in no band."""
    children = AgeBand(
        from_years=0, below_years=18, thresholds=ProfileThresholds(burden_percent=15.0, lesion_volume_ml=5.0)
    )
    findings = make_findings()
    banded = replace(policy, ages={findings.profile: (children,)})
    decision = evaluate(findings, RequestContext(age_years=age), banded)
    assert (decision.alert is not None) == flagged
    (burden,) = [one for one in decision.clauses if one.name is ClauseName.BURDEN]
    assert (burden.value, burden.limit, burden.met) == ("10.0 %", limit, flagged)


@given(lung_ml=st.floats(min_value=50, max_value=9000), share=st.floats(min_value=0, max_value=1))
def test_clauses_agree_with_the_decision(
    lung_ml: float, share: float, make_findings: FindingsFactory, policy: AlertPolicy
) -> None:
    """There is an alert exactly where every clause that decides is met; the last one tells incidental from expected."""
    findings = make_findings(lung_ml=lung_ml, ggo_ml=lung_ml * share, high_ml=0.0)
    decision = evaluate(findings, RequestContext(protocol_name="COVID follow-up"), policy)
    *deciding, expected = decision.clauses
    assert all(one.met for one in deciding) == (decision.alert is not None)
    assert (expected.name, expected.value, expected.met) == (ClauseName.EXPECTED, '"covid" in the protocol name', True)


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        (None, None, None),
        (None, True, PolicyChange.FLAGGED),
        (True, None, PolicyChange.NOT_FLAGGED),
        (True, True, None),
        (True, False, PolicyChange.EXPECTED),
        (False, True, PolicyChange.INCIDENTAL),
    ],
)
def test_what_another_policy_would_change(
    before: bool | None,
    after: bool | None,
    change: PolicyChange | None,
    make_findings: FindingsFactory,
    policy: AlertPolicy,
) -> None:
    """None is not flagged; True and False are flagged as incidental or expected."""
    alert = evaluate(make_findings(), NOTHING_ASKED, policy).alert
    assert alert is not None
    then, now = (None if one is None else replace(alert, incidental=one) for one in (before, after))
    assert change_of(then, now) is change


def test_scripts_without_spaces_have_whole_words_anywhere(make_findings: FindingsFactory, policy: AlertPolicy) -> None:
    """A Japanese word is found between other Japanese characters."""
    japanese = AlertPolicy(thresholds=policy.thresholds, expected_words=("肺炎",))
    alert = evaluate(make_findings(), RequestContext(reason_for_request="間質性肺炎疑い"), japanese).alert
    assert alert is not None
    assert not alert.incidental


@pytest.mark.parametrize(
    ("burden_percent", "severity", "category"),
    [
        (1.0, Severity.MILD, Category.CATEGORY_3),
        (24.9, Severity.MILD, Category.CATEGORY_3),
        (25.0, Severity.MODERATE, Category.CATEGORY_2),
        (50.0, Severity.SEVERE, Category.CATEGORY_1),
        (100.0, Severity.SEVERE, Category.CATEGORY_1),
    ],
)
def test_category_follows_burden(
    burden_percent: float, severity: Severity, category: Category, make_findings: FindingsFactory, policy: AlertPolicy
) -> None:
    """The bounds are 25 % and 50 % of the lung, each belonging to the grade above."""
    decision = evaluate(make_findings(lung_ml=1000.0, ggo_ml=burden_percent * 10, high_ml=0.0), NOTHING_ASKED, policy)
    assert decision.severity is severity
    assert decision.alert is not None
    assert decision.alert.category is category


def test_a_negative_decision_explains_itself(make_findings: FindingsFactory, policy: AlertPolicy) -> None:
    """It gives both figures and both thresholds, and never prints a value below its threshold as equal to it."""
    decision = evaluate(make_findings(lung_ml=4000.0, ggo_ml=39.996, high_ml=0.0), NOTHING_ASKED, policy)
    assert decision.alert is None
    assert decision.presence is Presence.ABSENT
    assert decision.severity is Severity.NONE
    assert "0.9999 %, below the threshold of 1 %" in decision.explanation
    assert "40.0 mL, at or above the threshold of 5 mL" in decision.explanation


def test_an_alert_carries_identity_but_no_text_of_the_request(
    make_findings: FindingsFactory, policy: AlertPolicy
) -> None:
    """Free text of a request may name the patient: none of it reaches the alert, only the policy's own word."""
    request = RequestContext(reason_for_request="Mr Example, pneumonia")
    findings = make_findings(study_instance_uid="1.2.3", series_instance_uid="1.2.3.4", revision=3)
    alert = evaluate(findings, request, policy).alert
    assert alert is not None
    assert (alert.study_instance_uid, alert.series_instance_uid, alert.revision) == ("1.2.3", "1.2.3.4", 3)
    assert "Example" not in f"{alert.headline} {alert.reasons}"


@pytest.mark.parametrize(("burden", "volume"), [(0.0, 5.0), (-1.0, 5.0), (101.0, 5.0), (float("nan"), 5.0), (1.0, 0.0)])
def test_thresholds_that_flag_everything_or_nothing_are_refused(burden: float, volume: float) -> None:
    """A threshold lies within its scale."""
    with pytest.raises(ValueError, match="threshold"):
        ProfileThresholds(burden_percent=burden, lesion_volume_ml=volume)


def test_a_policy_covers_every_profile_and_only_real_words(policy: AlertPolicy) -> None:
    """A profile without thresholds, or a word that would match any text, is refused when the policy is made."""
    with pytest.raises(ValueError, match="ctac"):
        AlertPolicy(thresholds={Profile.CHEST_CT: policy.thresholds[Profile.CHEST_CT]}, expected_words=())
    with pytest.raises(ValueError, match="word"):
        AlertPolicy(thresholds=policy.thresholds, expected_words=("covid", " - "))
