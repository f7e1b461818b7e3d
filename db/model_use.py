"""Which model is in use for a profile, who said so, and what a model in shadow would have found."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from analysis.findings import Findings, Profile

__all__ = ["ModelAssignment", "ModelRole", "ShadowResult", "StoredShadowResult"]


class ModelRole(StrEnum):
    """What a model does for a profile."""

    ACTIVE = "active"
    """Its result is the result."""
    SHADOW = "shadow"
    """It runs after the active one; what it finds is kept beside the result and has no consequence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAssignment:
    """A model in a role for a profile. Without one, the shipped model is active, and none runs in shadow.

    Workers refuse a model under this name and version whose weights have another SHA-256.
    """

    profile: Profile
    role: ModelRole
    name: str
    version: str
    sha256: str
    assigned_at: datetime
    assigned_by: str

    @property
    def reference(self) -> str:
        """``NAME@VERSION``."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowResult:
    """What a model in shadow made of a series, or the ``cause`` why it made nothing.

    ``would_alert`` is the policy's answer to its findings; ``lesion_dice`` how far its opacities are those of the
    result beside which it stands (1 where neither found any). Both are None with the findings.
    """

    name: str
    version: str
    sha256: str
    findings: Findings | None
    would_alert: bool | None
    lesion_dice: float | None
    cause: str | None
    seconds: float

    @property
    def reference(self) -> str:
        """``NAME@VERSION``."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredShadowResult:
    """A shadow's result beside the result in force when it ran."""

    id: int
    result_id: int
    series_instance_uid: str
    shadow: ShadowResult
    created_at: datetime
