"""Which report is the same report: UIDs derived from what determines the result, never drawn at random."""

import uuid
from dataclasses import dataclass

from alerts.policy import PolicyDecision
from analysis.findings import Findings

_NAMESPACE = uuid.UUID("8c0a3f5e-6f0b-5d2c-9a41-3b7f2d1c9e64")


def derived_uid(*parts: object) -> str:
    """The UID that these parts always give: a name-based UUID (RFC 9562, version 5) under 2.25 (PS3.5, B.2)."""
    name = "|".join(f"{len(text)}:{text}" for text in map(str, parts))
    return f"2.25.{uuid.uuid5(_NAMESPACE, name).int}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportIdentity:
    """The UIDs of one report. The same series, revision, weights and thresholds give the same ones.

    Runtime, device and software version are left out: a result computed again elsewhere replaces the first one.
    """

    key: tuple[str, ...]

    @classmethod
    def of(cls, findings: Findings, decision: PolicyDecision) -> "ReportIdentity":
        """The identity of the report on ``findings`` under the thresholds of ``decision``."""
        provenance = findings.provenance
        settings = [f"{name}={value!r}" for name, value in sorted(provenance.thresholds.items())]
        applied = decision.thresholds
        if applied:
            settings += [f"burden={applied.burden_percent!r}", f"volume={applied.lesion_volume_ml!r}"]
        return cls(
            key=(
                findings.series_instance_uid,
                str(findings.revision),
                findings.profile.value,
                provenance.weights_sha256,
                *settings,
            )
        )

    @property
    def series_instance_uid(self) -> str:
        """The series of the report, which holds nothing else."""
        return derived_uid("sr series", *self.key)

    @property
    def sop_instance_uid(self) -> str:
        """The report itself."""
        return derived_uid("sr instance", *self.key)

    def tracking_uid(self, identifier: str) -> str:
        """The UID that tracks one measurement group of the report."""
        return derived_uid("tracking", identifier, *self.key)


def device_uid(software_version: str) -> str:
    """The UID of this software as an observer; the same wherever this version runs."""
    return derived_uid("device", "lungsentry", software_version)
