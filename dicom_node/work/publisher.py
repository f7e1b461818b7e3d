"""Records what an analysis gave: the result, its files, its deliveries and messages, in one transaction."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from analysis.pipeline import AnalysedSeries
from analysis.series import Screening
from db import IMPORTED, Job, Store
from dicom_node.settings import Destination, Policy
from dicom_node.storage.artefacts import ArtefactFolder
from dicom_node.work.publishing import deliveries_of, kinds_of, publish
from dicom_node.work.shadow import RecordedCase

__all__ = ["Publisher"]

_LOG = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Publisher:
    """Knows the policy, who gets what, and where the files go; ``tell`` are those who are told of what is flagged."""

    policy: Policy
    destinations: Collection[Destination]
    tell: Sequence[str]
    delivery_attempts: int
    store: Store
    results_dir: Path

    def record(self, job: Job, worker: str, analysed: AnalysedSeries, screening: Screening) -> RecordedCase:
        """Make the report and the other files, write them, and record the result that names them.

        Raises:
            StaleState: the job is not this worker's any more; nothing is recorded.
        """
        results, folder = self.store.results, ArtefactFolder(self.results_dir)
        imported = job.site == IMPORTED  # nobody is told of what has been in an archive for years
        standing = results.latest(job.series_instance_uid)
        published = publish(
            analysed,
            policy=self.policy,
            kinds=kinds_of(self.destinations),
            results_dir=self.results_dir,
            earlier=results.earlier(job.series_instance_uid),
            in_force=None if standing is None else self.results_dir / standing.report.path,
            not_compared=results.not_compared(job.series_instance_uid),
        )
        recorded = results.record(
            job,
            worker,
            findings=analysed.findings,
            screening=screening,
            decision=published.decision,
            artefacts=[folder.put(draft) for draft in published.drafts],
            deliveries=() if imported else deliveries_of(published.drafts, self.destinations),
            delivery_attempts=self.delivery_attempts,
            tell=() if imported else self.tell,
            seconds=analysed.seconds,
        )
        _LOG.info(
            "series.analysed",
            burden_percent=round(analysed.findings.burden_percent, 2),
            alert=published.decision.alert is not None,
            seconds={step: round(seconds, 2) for step, seconds in analysed.seconds.items()},
        )
        return RecordedCase(
            series=analysed.series,
            result_id=recorded.result_id,
            findings=analysed.findings,
            labels=analysed.labels,
            alerted=published.decision.alert is not None,
        )
