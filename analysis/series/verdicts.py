"""What a rule makes of a series: the value it saw, what it wanted, and what came of it."""

from dataclasses import dataclass
from enum import StrEnum

from analysis.findings import Profile


class Rule(StrEnum):
    """Every rule that a series is held against, by the name that people read; recorded screenings hold these names."""

    SOP_CLASS = "SOP class"
    MODALITY = "modality"
    IMAGE_TYPE = "image type"
    DESCRIPTION = "description"
    BODY_PART = "body part"
    MATRIX = "matrix"
    PLANE_ATTRIBUTES = "plane attributes"
    FRAMES = "number of frames"
    PIXEL_FORMAT = "pixel format"
    STORED_VALUES = "stored values"
    ACQUISITION = "one acquisition"
    REPEATS = "repeated slices"
    IDENTIFIERS = "identifiers"
    COMPRESSION = "compression"
    RESCALE = "rescale"
    ORIENTATION = "orientation"
    GANTRY_TILT = "gantry tilt"
    SLICE_POSITIONS = "slice positions"
    ALIGNMENT = "alignment"
    SLICE_STEP = "slice step"
    SLICE_CONTACT = "slice contact"
    EXTENT = "extent"
    FIELD_OF_VIEW = "field of view"
    HOUNSFIELD_SCALE = "Hounsfield scale"
    LUNG_PRESENT = "lung present"
    RECONSTRUCTION = "reconstruction"
    OTHER_RECONSTRUCTION = "other reconstruction chosen"
    READABLE = "readable"
    SCREENING = "screening"
    ON_DISK = "instances on disk"
    ONE_STUDY = "one study"


class Outcome(StrEnum):
    """What a rule made of the value it saw."""

    PASSED = "passed"
    NOTED = "noted"
    EXCLUDED = "excluded"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleResult:
    """One rule applied: what it looked at, what it wanted, what came of it."""

    rule: Rule
    value: str
    expected: str
    outcome: Outcome

    @property
    def sentence(self) -> str:
        """The rule, what it saw and what it wanted, for people."""
        return f"{self.rule}: {self.value} (expected {self.expected})"


def judged(rule: Rule, value: str, expected: str, *, passed: bool) -> RuleResult:
    """What the rule saw; it passed, or excludes the series."""
    return RuleResult(rule=rule, value=value, expected=expected, outcome=Outcome.PASSED if passed else Outcome.EXCLUDED)


def noted(rule: Rule, value: str, expected: str) -> RuleResult:
    """What the rule saw; it excludes nothing, and people are told."""
    return RuleResult(rule=rule, value=value, expected=expected, outcome=Outcome.NOTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Screening:
    """Every rule that was applied to a series. Eligible when none excluded it; then ``profile`` is known."""

    results: tuple[RuleResult, ...]
    profile: Profile | None
    profile_cues: tuple[str, ...] = ()

    @property
    def eligible(self) -> bool:
        """Whether no rule excluded the series."""
        return all(result.outcome is not Outcome.EXCLUDED for result in self.results)

    @property
    def rule(self) -> Rule | None:
        """The first rule that excluded the series: all that a log or an event says, as values are what people typed."""
        return None if self.exclusion is None else self.exclusion.rule

    @property
    def reason(self) -> str | None:
        """The first rule that excluded the series, with the value it saw, and the volumes that share its UID."""
        if self.exclusion is None:
            return None
        shared = (one.value for one in self.results if one.rule is Rule.ACQUISITION and one.outcome is Outcome.NOTED)
        return "; ".join((self.exclusion.sentence, *shared))

    @property
    def exclusion(self) -> RuleResult | None:
        """What the first rule that excluded the series saw."""
        return next((result for result in self.results if result.outcome is Outcome.EXCLUDED), None)
