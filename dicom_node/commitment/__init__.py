"""Storage Commitment Push Model SCP (PS3.4 annex J): what is answered comes from what is durable at that moment."""

from dicom_node.commitment.desk import CommitmentDesk
from dicom_node.commitment.judgement import Judgement, judge
from dicom_node.commitment.reporter import Reporter

__all__ = ["CommitmentDesk", "Judgement", "Reporter", "judge"]
