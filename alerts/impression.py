"""What a person should read of a result, sentence by sentence; it never names the patient."""

from alerts import wording
from alerts.policy import PolicyDecision
from analysis.findings import Findings


def impression(findings: Findings, decision: PolicyDecision, *, change: str | None = None) -> list[str]:
    """Conclusion, figures, why, quality, what is missing, ``change`` where it is known, and what this result is not."""
    texts = [decision.alert.headline if decision.alert else wording.negative_result(decision.presence)]
    if findings.reliable:
        texts.append(wording.figures_sentence(findings))
    texts += [decision.explanation, wording.quality_sentence(findings.quality)]
    texts.append(wording.scores_sentence(findings) if findings.reliable else wording.NOT_MEASURED)
    texts += [f"{wording.region_name(findings, lobe)}." for lobe in findings.lobes_in_part]
    if findings.lobes:
        texts.append(wording.lobes_sentence(findings))
    if change is not None:
        texts.append(change)
    texts.append(wording.RESEARCH_USE)
    return texts
