"""When findings become an alert, and why or why not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from alerts import wording
from alerts.alert import Alert, Category
from alerts.request import RequestContext, find_expectation
from alerts.severity import Presence, Severity, category_of, severity_of
from analysis.findings import Findings, Profile, QualityLevel


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileThresholds:
    """What a result must reach, both at once, to be flagged: share of the lung and volume of opacity."""

    burden_percent: float
    lesion_volume_ml: float

    def __post_init__(self) -> None:
        if not 0 < self.burden_percent <= 100:
            raise ValueError(f"a burden threshold lies in (0, 100] percent, not {self.burden_percent}")
        if not self.lesion_volume_ml > 0:
            raise ValueError(f"a volume threshold is positive, not {self.lesion_volume_ml} mL")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgeBand:
    """Thresholds for patients of ``from_years`` and older, younger than ``below_years``."""

    from_years: int
    below_years: int
    thresholds: ProfileThresholds

    def __post_init__(self) -> None:
        if not 0 <= self.from_years < self.below_years:
            raise ValueError(f"an age band goes upwards, not from {self.from_years} to {self.below_years} years")

    def __str__(self) -> str:
        return f"{self.from_years} to under {self.below_years} years"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertPolicy:
    """Thresholds of every profile, and the words that make opacities expected where a request names them.

    ``ages`` holds bands that go before the thresholds of their profile; of overlapping ones the first counts.
    ``minutes_allowed`` is how long a case of a category may wait for a reader; without it ``TIME_ALLOWED``.
    """

    thresholds: Mapping[Profile, ProfileThresholds]
    expected_words: tuple[str, ...]
    ages: Mapping[Profile, tuple[AgeBand, ...]] = field(default_factory=dict[Profile, tuple[AgeBand, ...]])
    minutes_allowed: Mapping[Category, float] = field(default_factory=dict[Category, float])

    def __post_init__(self) -> None:
        missing = [profile.value for profile in Profile if profile not in self.thresholds]
        if missing:
            raise ValueError(f"no thresholds for {', '.join(missing)}")
        if not all(any(character.isalnum() for character in word) for word in self.expected_words):
            raise ValueError("an expected word needs a letter or a digit")

    def band_of(self, profile: Profile, age_years: int | None) -> AgeBand | None:
        """The band of the profile that an age falls into; None where there is none, or no age is known."""
        if age_years is None:
            return None
        return next((one for one in self.ages.get(profile, ()) if one.from_years <= age_years < one.below_years), None)


class ClauseName(StrEnum):
    """A clause of the policy."""

    QUALITY = "quality"
    BURDEN = "burden"
    VOLUME = "volume"
    EXPECTED = "expected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """A clause as it was applied to a result: the value it saw, its limit, and whether the value reaches it.

    All but ``EXPECTED``, which only tells incidental from expected, have to be met for an alert.
    """

    name: ClauseName
    value: str
    limit: str
    met: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDecision:
    """Whether there is an alert, and the explanation either way.

    ``presence`` is undetermined, and ``severity`` None, where the images do not allow an answer. ``thresholds`` are
    those that were applied, ``clauses`` all that were, and ``request`` is what they were applied to.
    """

    alert: Alert | None
    reasons: tuple[str, ...]
    explanation: str
    presence: Presence = Presence.UNDETERMINED
    severity: Severity | None = None
    thresholds: ProfileThresholds | None = None
    clauses: tuple[Clause, ...] = ()
    request: RequestContext = field(default_factory=RequestContext)


def evaluate(findings: Findings, request: RequestContext, policy: AlertPolicy) -> PolicyDecision:
    """An alert where burden and volume both reach the profile's thresholds on images that can be analysed.

    Images that cannot be analysed never alert, and their figures are not told. Where a lung was not found, or not as a
    whole, less than the thresholds is no answer. An alert is incidental unless the request names an expected word.
    """
    band = policy.band_of(findings.profile, request.age_years)
    thresholds = policy.thresholds[findings.profile] if band is None else band.thresholds
    expectation = find_expectation(request, policy.expected_words)
    clauses = _clauses(findings, thresholds, band, expectation, policy.expected_words)
    presence = _presence(findings, thresholds)
    severity = severity_of(presence, findings.burden_percent)
    measured = wording.threshold_reasons(
        findings, burden_percent=thresholds.burden_percent, lesion_volume_ml=thresholds.lesion_volume_ml
    )
    quality = wording.quality_reasons(findings.quality)
    if presence is not Presence.PRESENT or severity is None:
        reasons = (*measured, *quality) if findings.reliable else quality
        return PolicyDecision(
            alert=None,
            reasons=reasons,
            explanation=wording.not_flagged(presence, reasons),
            presence=presence,
            severity=severity,
            thresholds=thresholds,
            clauses=clauses,
            request=request,
        )
    reasons = (*measured, wording.expectation_reason(expectation), *quality)
    incidental, category = expectation is None, category_of(severity)
    alert = Alert(
        study_instance_uid=findings.study_instance_uid,
        series_instance_uid=findings.series_instance_uid,
        revision=findings.revision,
        category=category,
        incidental=incidental,
        headline=wording.headline(findings, incidental=incidental),
        reasons=reasons,
        burden_percent=findings.burden_percent,
        minutes_allowed=policy.minutes_allowed.get(category),
    )
    return PolicyDecision(
        alert=alert,
        reasons=reasons,
        explanation=wording.flagged(reasons),
        presence=presence,
        severity=severity,
        thresholds=thresholds,
        clauses=clauses,
        request=request,
    )


def _clauses(
    findings: Findings,
    thresholds: ProfileThresholds,
    band: AgeBand | None,
    expectation: tuple[str, str] | None,
    words: tuple[str, ...],
) -> tuple[Clause, ...]:
    whole, of_age = findings.both_lungs, "" if band is None else f" ({band})"
    reached = (
        (ClauseName.BURDEN, whole.burden_percent, thresholds.burden_percent, "%"),
        (ClauseName.VOLUME, whole.lesion_volume_ml, thresholds.lesion_volume_ml, "mL"),
    )
    named = "none of them is named" if expectation is None else f'"{expectation[0]}" in the {expectation[1]}'
    return (
        Clause(
            name=ClauseName.QUALITY,
            value=findings.quality.level.value,
            limit="analysable",
            met=findings.quality.level is not QualityLevel.NOT_ANALYSABLE,
        ),
        *(
            Clause(
                name=name,
                value=f"{wording.told_apart(value, limit)} {unit}",
                limit=f"at least {limit:g} {unit}{of_age}",
                met=value >= limit,
            )
            for name, value, limit, unit in reached
        ),
        Clause(name=ClauseName.EXPECTED, value=named, limit=", ".join(words) or "no word", met=expectation is not None),
    )


def _presence(findings: Findings, thresholds: ProfileThresholds) -> Presence:
    if findings.quality.level is QualityLevel.NOT_ANALYSABLE:
        return Presence.UNDETERMINED
    whole = findings.both_lungs
    reached = (
        whole.burden_percent >= thresholds.burden_percent and whole.lesion_volume_ml >= thresholds.lesion_volume_ml
    )
    if reached:
        return Presence.PRESENT
    return Presence.UNDETERMINED if findings.quality.lacking_lungs else Presence.ABSENT
