"""Storage Commitment Push Model SCP (PS3.4 annex J): what is answered comes from what is durable at that moment."""

from dicom_node.commitment.judgement import Judgement, judge
from dicom_node.commitment.reporter import Reporter
from dicom_node.commitment.service import CommitmentService

__all__ = ["CommitmentService", "Judgement", "Reporter", "judge"]
