"""What people read about a result."""

import re
from collections.abc import Callable, Iterator

import pytest

from alerts import AlertPolicy, RequestContext, describe, evaluate, wording
from analysis.findings import Findings, Profile, Quality, QualityLevel

FindingsFactory = Callable[..., Findings]
# a claim about the patient or about a disease, which no measurement of opacity can make
CLAIMS = re.compile(
    r"\b(diagnos(is|ed|tic of)|infect(ed|ion)|positive for|consistent with|suggestive of|suffers?|patient (has|is)"
    r"|has covid|covid(-19)? (pneumonia|positive|disease)|pneumonia (is|was)|no pneumonia"
    r"|normal|healthy|rule[sd]? out)\b",
    re.IGNORECASE,
)
VOLUMES = [(0.0, 0.0), (10.0, 5.0), (300.0, 100.0), (1000.0, 200.0), (2000.0, 500.0)]


def _texts(make_findings: FindingsFactory, policy: AlertPolicy) -> Iterator[str]:
    """Every text that a result can give, over volumes, qualities, profiles and requests."""
    for ggo_ml, high_ml in VOLUMES:
        for level in QualityLevel:
            for profile in Profile:
                for request in (RequestContext(), RequestContext(reason_for_request="covid")):
                    quality = Quality(level=level, reasons=("noise of 60 HU",))
                    findings = make_findings(ggo_ml=ggo_ml, high_ml=high_ml, quality=quality, profile=profile)
                    decision = evaluate(findings, request, policy)
                    yield describe(findings, decision)
                    yield decision.explanation
                    yield wording.negative_result(decision.presence)
                    if decision.alert:
                        yield decision.alert.headline


def test_no_wording_asserts_a_diagnosis(make_findings: FindingsFactory, policy: AlertPolicy) -> None:
    """Whatever was measured, the texts speak of opacity; only the disclaimer speaks of diagnosing."""
    for text in _texts(make_findings, policy):
        found = CLAIMS.search(text.replace(wording.RESEARCH_USE, ""))
        assert found is None, f"{found} in {text}"


def test_high_opacity_is_never_called_consolidation_alone(make_findings: FindingsFactory, policy: AlertPolicy) -> None:
    """The class holds pleural effusion as well, and says so wherever the word falls."""
    for text in [wording.HIGH_OPACITY, *_texts(make_findings, policy)]:
        assert "consolidation" not in text.replace("consolidation or pleural effusion", "").lower()


def test_a_description_ends_with_research_use(make_findings: FindingsFactory, policy: AlertPolicy) -> None:
    """A person reads figures, quality, model and what the result is not."""
    findings = make_findings()
    lines = describe(findings, evaluate(findings, RequestContext(), policy)).splitlines()
    assert lines[0] == "Incidental COVID-like opacities on chest CT: 10.0 % of the lung, 400 mL"
    assert any(re.fullmatch(r"Both lungs +4000 +300\.0 +100\.0 +10\.0", line) for line in lines)
    assert wording.NO_LOBES in lines
    assert lines[-1] == "Research use only. Not a medical device. Measures opacity; does not diagnose."


def test_an_expected_finding_is_not_called_incidental(make_findings: FindingsFactory) -> None:
    """The headline tells a reader whether somebody was looking for it."""
    assert "ncidental" not in wording.headline(make_findings(), incidental=False)


@pytest.mark.parametrize("level", list(QualityLevel))
def test_quality_is_told_with_its_reasons(level: QualityLevel) -> None:
    """Every level has a sentence, and the reasons stand in it."""
    assert "lungs cut off" in wording.quality_sentence(Quality(level=level, reasons=("lungs cut off.",)))
