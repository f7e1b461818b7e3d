"""What the evaluation of a case yields, in values that every part shares."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Progress = Callable[[str, int, int], None]
"""Hears what begins, how many are done, and how many there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A PNG that shows how a case went; ``badness`` is larger the worse it went, on the scale of its set."""

    png: bytes
    caption: str
    badness: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """The figures of one case by the keys of the JSON; None where a figure does not apply to this case."""

    case: str
    figures: Mapping[str, Any]
    picture: Picture | None = field(default=None, repr=False)

    def document(self) -> dict[str, Any]:
        """The case as the JSON holds it."""
        return {"case": self.case, **self.figures}


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedCase:
    """A case that could not be evaluated, and why."""

    case: str
    reason: str
