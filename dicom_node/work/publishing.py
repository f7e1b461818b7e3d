"""What an analysed series leaves in the folder of results, and what of it is to be delivered.

Names derive from series, revision and model alone, so that another run of the same replaces its files in place.
Files of superseded results stay: the database's history points at them.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from alerts import (
    AlertPolicy,
    Delivery,
    DeliveryKind,
    PolicyDecision,
    Prior,
    ProfileThresholds,
    RequestContext,
    choose_prior,
    evaluate,
)
from alerts.reports import WrittenReport, write_sr
from alerts.reports.durable import write_durably
from analysis.findings import Findings, Profile
from analysis.measure import QualityLimits
from analysis.pictures import coronal_png, key_slice_png, lobes_png
from analysis.pipeline import AnalysedSeries
from analysis.series import Series
from dicom_node.settings import Destination, Policy, Quality

if TYPE_CHECKING:
    from db import EarlierResult  # a folder is analysed without a database

__all__ = ["Published", "alert_policy", "publish", "quality_limits", "request_context"]

_DIGEST_CHARACTERS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What lies on disk, durable, and is to be recorded. Paths are POSIX and relative to the folder of results."""

    decision: PolicyDecision
    report: WrittenReport
    report_path: str
    picture_paths: tuple[str, ...]
    deliveries: tuple[Delivery, ...]


def publish(
    analysed: AnalysedSeries,
    series: Series,
    *,
    policy: Policy,
    destinations: Iterable[Destination],
    results_dir: Path,
    earlier: "Sequence[EarlierResult]" = (),
) -> Published:
    """Evaluate the findings, and write the report and the pictures.

    Of the ``earlier`` results of the patient the report is compared with the one that is most like this.
    """
    findings = analysed.findings
    decision = evaluate(findings, request_context(series), alert_policy(policy))
    folder = _folder(findings)
    (results_dir / folder).mkdir(parents=True, exist_ok=True)
    report_path = folder / "report.dcm"
    report = write_sr(
        findings,
        decision,
        evidence=[header.path for header in series.headers],
        out=results_dir / report_path,
        prior=choose_prior(findings, tuple(_prior(one, results_dir) for one in earlier)),
    )
    pictures = {
        "coronal.png": coronal_png(analysed.volume, analysed.lungs, analysed.labels, findings.key_slices),
        "lobes.png": lobes_png(analysed.volume, analysed.lungs, analysed.lobes, analysed.labels),
    }
    for number, key_slice in enumerate(findings.key_slices, start=1):
        pictures[f"slice-{number}.png"] = key_slice_png(
            analysed.volume, analysed.lungs, analysed.labels, key_slice.slice_index
        )
    for name, png in pictures.items():
        write_durably(png, results_dir / folder / name)
    return Published(
        decision=decision,
        report=report,
        report_path=str(report_path),
        picture_paths=tuple(str(folder / name) for name in pictures),
        deliveries=tuple(
            Delivery(
                kind=DeliveryKind.SR,
                destination=destination.ae_title,
                path=str(report_path),
                sop_instance_uid=report.sop_instance_uid,
                sop_class_uid=report.sop_class_uid,
            )
            for destination in destinations
            if DeliveryKind.SR in destination.kinds
        ),
    )


def _prior(earlier: "EarlierResult", results_dir: Path) -> Prior:
    return Prior(
        study_date=earlier.study_date,
        findings=earlier.result.findings,
        report_path=results_dir / earlier.result.report_path,
    )


def alert_policy(policy: Policy) -> AlertPolicy:
    """The policy of the settings as the alerts take it."""
    return AlertPolicy(
        thresholds={
            profile: ProfileThresholds(burden_percent=section.burden_percent, lesion_volume_ml=section.lesion_volume_ml)
            for profile, section in ((Profile.CHEST_CT, policy.chest_ct), (Profile.CTAC, policy.ctac))
        },
        expected_words=policy.expected_words,
    )


def quality_limits(quality: Quality) -> QualityLimits:
    """The limits of the settings as the analysis takes them."""
    return QualityLimits(**quality.model_dump())


def request_context(series: Series) -> RequestContext:
    """What the examination was asked and named for, from the first header."""
    header = series.headers[0]
    return RequestContext(
        study_description=header.study_description,
        series_description=header.series_description,
        requested_procedure=header.requested_procedure,
    )


def _folder(findings: Findings) -> PurePosixPath:
    """A folder of its own for series, revision and model. No UID becomes a path: a UID may be any text."""
    series = hashlib.sha256(findings.series_instance_uid.encode()).hexdigest()[:_DIGEST_CHARACTERS]
    model = re.sub(r"[^A-Za-z0-9.]+", "-", findings.provenance.model_version).strip("-.") or "model"
    weights = findings.provenance.weights_sha256[:8]
    return PurePosixPath(series[:2], series, f"r{findings.revision}-{model}-{weights}")
