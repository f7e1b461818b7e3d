"""What a rule makes of a series: the value it saw, what it wanted, and what came of it."""

from dataclasses import dataclass
from enum import StrEnum

from analysis.findings import Profile


class Outcome(StrEnum):
    """What a rule made of the value it saw."""

    PASSED = "passed"
    NOTED = "noted"
    EXCLUDED = "excluded"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleResult:
    """One rule applied: what it looked at, what it wanted, what came of it."""

    rule: str
    value: str
    expected: str
    outcome: Outcome


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
    def reason(self) -> str | None:
        """The first rule that excluded the series, with the value it saw, as a sentence for people."""
        for result in self.results:
            if result.outcome is Outcome.EXCLUDED:
                return f"{result.rule}: {result.value} (expected {result.expected})"
        return None
