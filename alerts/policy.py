"""When findings become an alert, and why or why not."""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

from alerts import wording
from alerts.alert import Alert
from alerts.severity import Presence, Severity, category_of, severity_of
from analysis.findings import Findings, Profile, QualityLevel

_SEPARATORS = r"[\W_]*"
_NOT_AFTER_LETTER = r"(?<![^\W_])"
_NOT_BEFORE_LETTER = r"(?![^\W_])"


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
class AlertPolicy:
    """Thresholds of every profile, and the words that make opacities expected where a request names them."""

    thresholds: Mapping[Profile, ProfileThresholds]
    expected_words: tuple[str, ...]

    def __post_init__(self) -> None:
        missing = [profile.value for profile in Profile if profile not in self.thresholds]
        if missing:
            raise ValueError(f"no thresholds for {', '.join(missing)}")
        if not all(any(character.isalnum() for character in word) for word in self.expected_words):
            raise ValueError("an expected word needs a letter or a digit")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """What the examination was asked and named for. Text about the examination, never about the patient."""

    study_description: str = ""
    series_description: str = ""
    requested_procedure: str = ""
    reason_for_request: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDecision:
    """Whether there is an alert, and the explanation either way.

    ``presence`` is undetermined, and ``severity`` None, where the images do not allow an answer. ``thresholds`` are
    those that were applied.
    """

    alert: Alert | None
    reasons: tuple[str, ...]
    explanation: str
    presence: Presence = Presence.UNDETERMINED
    severity: Severity | None = None
    thresholds: ProfileThresholds | None = None


def evaluate(findings: Findings, request: RequestContext, policy: AlertPolicy) -> PolicyDecision:
    """An alert where burden and volume both reach the profile's thresholds on images that can be analysed.

    Images that cannot be analysed never alert, and their figures are not told. Where a lung was not found, or not as a
    whole, less than the thresholds is no answer. An alert is incidental unless the request names an expected word.
    """
    thresholds = policy.thresholds[findings.profile]
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
        )
    expectation = _find_expectation(request, policy.expected_words)
    reasons = (*measured, wording.expectation_reason(expectation), *quality)
    incidental = expectation is None
    alert = Alert(
        study_instance_uid=findings.study_instance_uid,
        series_instance_uid=findings.series_instance_uid,
        revision=findings.revision,
        category=category_of(severity),
        incidental=incidental,
        headline=wording.headline(findings, incidental=incidental),
        reasons=reasons,
        burden_percent=findings.burden_percent,
    )
    return PolicyDecision(
        alert=alert,
        reasons=reasons,
        explanation=wording.flagged(reasons),
        presence=presence,
        severity=severity,
        thresholds=thresholds,
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


def _find_expectation(request: RequestContext, words: tuple[str, ...]) -> tuple[str, str] | None:
    """The first expected word that a text of the request names, with the name of that text."""
    patterns = [(word, _word_pattern(word)) for word in words]
    for field_name, text in _texts(request):
        for word, pattern in patterns:
            if pattern.search(text):
                return word, field_name.replace("_", " ")
    return None


def _texts(request: RequestContext) -> Iterator[tuple[str, str]]:
    for field in fields(request):
        yield field.name, _fold(getattr(request, field.name))


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _word_pattern(word: str) -> re.Pattern[str]:
    """A pattern that finds ``word`` as a whole word, in any spelling of its separators and with any number after it.

    "covid" finds COVID-19, Covid_19 and COVID19; "sars-cov" finds SARS CoV 2 and SARSCoV2; "corona" does not find
    "coronary". Scripts that are written without spaces have no word ends to ask for.
    """
    parts = [re.escape(part) for part in re.split(r"[\W_]+", _fold(word)) if part]
    letters = [character for character in _fold(word) if character.isalnum()]
    start = "" if _runs_on(letters[0]) else _NOT_AFTER_LETTER
    end = "" if _runs_on(letters[-1]) else rf"(?:{_SEPARATORS}\d+)?{_NOT_BEFORE_LETTER}"
    return re.compile(start + _SEPARATORS.join(parts) + end)


def _runs_on(character: str) -> bool:
    """Whether a character belongs to a script without capitals and, mostly, without spaces (category Lo)."""
    return unicodedata.category(character) == "Lo"
