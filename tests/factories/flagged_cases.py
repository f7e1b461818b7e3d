"""Flagged examinations for the worklist: each of a study of its own, with or without its images."""

from pathlib import Path
from typing import Any

from small_pack import small_pack
from store_bench import ELIGIBLE, Bench, artefacts_of, instance

from alerts import ZIP, ArtefactKind, Draft


def flagged(bench: Bench, number: int = 1, *, results_dir: Path | None = None, **header: Any) -> int:
    """The alert of a new study, analysed; with ``results_dir`` its images are kept there."""
    study = f"1.2.3.{number}"
    series = f"{study}.1"
    described = {"slice_position_mm": 1.0, "accession_number": f"ACC-{number}", **header}
    recorded = bench.store.intake.record_instance(instance(series=series, study_instance_uid=study, header=described))
    bench.store.intake.mark_complete(series, recorded.revision, "in a test")
    bench.store.jobs.enqueue(series, recorded.revision, ELIGIBLE, 3)
    artefacts = artefacts_of(f"{series}.9")
    if results_dir is not None:
        draft = Draft(kind=ArtefactKind.VIEW, name="view.zip", media_type=ZIP, content=small_pack())
        view = draft.artefact()
        (results_dir / view.path).parent.mkdir(parents=True, exist_ok=True)
        (results_dir / view.path).write_bytes(draft.content)
        artefacts = (*artefacts, view)
    alert = bench.record(bench.claim(), artefacts=artefacts).alert_id
    assert alert is not None
    return alert
