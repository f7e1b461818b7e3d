"""A structured report is written and read back: figures, judgements, references."""

import re
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage
from sr_reports import (
    SERIES,
    codes_of,
    content_items,
    dciodvfy,
    make_findings,
    make_key_slice,
    measurement_groups,
    name_code,
    negative_findings,
    numbers_of,
    region_of,
    texts_of,
    write_report,
    write_source,
    write_sr,
)

from alerts import Prior, wording
from analysis.findings import Algorithm, Lobe, Quality, QualityLevel


def test_values_and_units_are_those_of_the_findings(sources: list[Path], tmp_path: Path) -> None:
    """Every figure comes back from the file with its unit, to three decimals."""
    _, report = write_report(make_findings(), sources, tmp_path / "sr.dcm")
    groups = measurement_groups(report)
    assert numbers_of(groups["Lungs as a whole"]) == {
        "BURDEN": (10.003, "%"),
        "GGO_PERCENT": (7.503, "%"),
        "HIGH_PERCENT": (2.5, "%"),
        "PO": (10.003, "%"),
        "PHO": (2.5, "%"),
        "PHO_HU": (1.25, "%"),
    }
    assert numbers_of(groups["Right lung"]) == {"118565006": (2200.0, "cm3"), "PERCENT_OF_LUNG": (11.818, "%")}
    assert numbers_of(groups["Ground-glass opacity, left lung"]) == {
        "118565006": (100.123, "cm3"),
        "PERCENT_OF_LUNG": (5.562, "%"),
    }
    assert numbers_of(groups["All opacities, both lungs"]) == {
        "118565006": (400.123, "cm3"),
        "OPACITY_COUNT": (7.0, "1"),
        "112181": (-512.346, "[hnsf'U]"),
        "112183": (140.25, "[hnsf'U]"),
    }


def test_judgements_of_a_flagged_series(sources: list[Path], tmp_path: Path) -> None:
    """Present, mild, diagnostic, category 3, incidental; unverified, and for research."""
    _, report = write_report(make_findings(), sources, tmp_path / "sr.dcm")
    judgements = codes_of(measurement_groups(report)["Lungs as a whole"])
    assert judgements["112033"] == "52101004"
    assert judgements["246112005"] == "255604002"
    assert judgements["111101"] == "RID12"
    assert judgements["ACTIONABLE"] == "RID49482"
    assert judgements["INCIDENTAL"] == "373066001"
    assert report.VerificationFlag == "UNVERIFIED"
    assert report.PreliminaryFlag == "PRELIMINARY"
    assert wording.RESEARCH_USE in texts_of(report)


def test_a_negative_series_gets_a_report_too(sources: list[Path], tmp_path: Path) -> None:
    """Absent, no severity, its quality, no category, and a sentence that promises nothing."""
    quality = Quality(
        level=QualityLevel.LIMITED, reasons=("noise of 60 HU",), lung_coverage_percent=91.5, noise_hu=60.0
    )
    _, report = write_report(negative_findings(quality=quality), sources, tmp_path / "sr.dcm")
    group = measurement_groups(report)["Lungs as a whole"]
    judgements = codes_of(group)
    assert (judgements["112033"], judgements["246112005"], judgements["111101"]) == ("272519000", "260413007", "RID13")
    assert "ACTIONABLE" not in judgements
    assert numbers_of(group)["LUNG_COVERAGE"] == (91.5, "%")
    assert codes_of(measurement_groups(report)["Ground-glass opacity, both lungs"])["112120"] == "272519000"
    assert any("does not exclude disease" in text for text in texts_of(report))


def test_images_that_cannot_be_analysed_leave_presence_undetermined(sources: list[Path], tmp_path: Path) -> None:
    """Neither present nor absent, and no severity."""
    _, report = write_report(
        make_findings(quality=Quality(level=QualityLevel.NOT_ANALYSABLE)), sources, tmp_path / "sr.dcm"
    )
    judgements = codes_of(measurement_groups(report)["Lungs as a whole"])
    assert (judgements["112033"], judgements["111101"]) == ("373068000", "RID14")
    assert "246112005" not in judgements


def test_a_lung_that_was_not_found_leaves_presence_undetermined(sources: list[Path], tmp_path: Path) -> None:
    """The report of a single lung without opacity: undetermined, no severity, coverage of each lung, and why."""
    quality = Quality(
        level=QualityLevel.LIMITED,
        reasons=("The left lung was not found (removed, collapsed or opaque).",),
        right_lung_coverage_percent=100.0,
        left_lung_coverage_percent=0.0,
        lacking_lungs=("left",),
    )
    _, report = write_report(negative_findings(quality=quality), sources, tmp_path / "sr.dcm")
    group = measurement_groups(report)["Lungs as a whole"]
    assert codes_of(group)["112033"] == "373068000"
    assert "246112005" not in codes_of(group)
    numbers = numbers_of(group)
    assert (numbers["RIGHT_COVERAGE"], numbers["LEFT_COVERAGE"]) == ((100, "%"), (0, "%"))
    assert any("The left lung was not found" in text for text in texts_of(report))


def test_lobes_and_scores_are_there_when_known_and_missed_aloud(sources: list[Path], tmp_path: Path) -> None:
    """With lobes: a group for each and both scores. Without: neither, and the report says why."""
    _, without = write_report(make_findings(), sources, tmp_path / "without.dcm")
    assert "LSS" not in numbers_of(measurement_groups(without)["Lungs as a whole"])
    assert wording.NO_LOBES in texts_of(without)
    lobes = {lobe: region_of(800.0, 60.0, 20.0) for lobe in Lobe}
    _, report = write_report(make_findings(lobes=lobes, lss=5, lhos=0), sources, tmp_path / "with.dcm")
    groups = measurement_groups(report)
    assert numbers_of(groups["Lungs as a whole"])["LSS"] == (5.0, "{score}")
    assert numbers_of(groups["Lungs as a whole"])["LHOS"] == (0.0, "{score}")
    assert numbers_of(groups["Left upper lobe"])["PERCENT_OF_LUNG"] == (10.0, "%")
    assert wording.NO_LOBES not in texts_of(report)


def test_the_library_holds_referenced_slices_and_the_evidence_all(sources: list[Path], tmp_path: Path) -> None:
    """One library entry for each key slice; every source instance is listed once as evidence."""
    findings = make_findings(key_slices=(make_key_slice(f"{SERIES}.2", 1), make_key_slice(f"{SERIES}.3", 2)))
    _, report = write_report(findings, [*sources, sources[0]], tmp_path / "sr.dcm")
    library = next(item for item in content_items(report) if name_code(item) == "126200")
    entries = [item for item in library.ContentSequence if item.ValueType == "IMAGE"]
    uids = [entry.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for entry in entries]
    assert uids == [f"{SERIES}.2", f"{SERIES}.3"]
    listed = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert [item.ReferencedSOPInstanceUID for item in listed] == [f"{SERIES}.{number}" for number in (1, 2, 3)]


def test_key_slices_of_a_multi_frame_image_name_their_frames(tmp_path: Path) -> None:
    """One library entry for the image; each reference says which frame is meant."""
    source = write_source(tmp_path / "a.dcm", 1, SOPClassUID=EnhancedCTImageStorage)
    slices = tuple(replace(make_key_slice(f"{SERIES}.1", index), frame_number=index + 1) for index in (4, 9))
    _, report = write_report(make_findings(key_slices=slices), [source], tmp_path / "sr.dcm")
    library = next(item for item in content_items(report) if name_code(item) == "126200")
    assert len([item for item in library.ContentSequence if item.ValueType == "IMAGE"]) == 1
    group = measurement_groups(report)["Lungs as a whole"]
    references = [item.ReferencedSOPSequence[0] for item in group.ContentSequence if item.ValueType == "IMAGE"]
    assert [reference.ReferencedFrameNumber for reference in references] == [5, 10]
    assert {reference.ReferencedSOPClassUID for reference in references} == {EnhancedCTImageStorage}
    assert "Error" not in dciodvfy(tmp_path / "sr.dcm")


def test_the_same_input_gives_the_same_bytes(sources: list[Path], tmp_path: Path) -> None:
    """In any order of the sources; the dates are those of the last image and not of the writing."""
    first, report = write_report(make_findings(), sources, tmp_path / "first.dcm")
    second, _ = write_report(make_findings(), sources[::-1], tmp_path / "second.dcm")
    assert (tmp_path / "first.dcm").read_bytes() == (tmp_path / "second.dcm").read_bytes()
    assert first.artefact() == second.artefact()
    assert (report.ContentDate, report.ContentTime) == ("20200305", "145603")
    assert "InstanceCreationTime" not in report


@pytest.mark.parametrize(
    "change",
    [
        {"revision": 2},
        {"lesion_mean_hu": -512.0},
        {"quality": Quality(level=QualityLevel.LIMITED, reasons=("Noise.",))},
        {"provenance": replace(make_findings().provenance, software_version="0.2.0")},
        {"provenance": replace(make_findings().provenance, device="cuda")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_changes_in_a_report_changes_its_uids(
    change: dict[str, object], sources: list[Path], tmp_path: Path
) -> None:
    """A PACS keeps the first object of a UID: a report that says anything else is another object, in another series."""
    first, report = write_report(make_findings(), sources, tmp_path / "1.dcm")
    second, newer = write_report(make_findings(**change), sources, tmp_path / "2.dcm")
    assert (first.sop_instance_uid, second.sop_instance_uid) == (report.SOPInstanceUID, newer.SOPInstanceUID)
    assert second.sop_instance_uid != first.sop_instance_uid
    assert len({SERIES, report.SeriesInstanceUID, newer.SeriesInstanceUID}) == 3
    assert newer.file_meta.MediaStorageSOPInstanceUID == newer.SOPInstanceUID


def test_a_prior_that_is_found_makes_another_report(sources: list[Path], prior: Prior, tmp_path: Path) -> None:
    """The comparison is content: the report that has it does not hide behind the UID of the one that has not."""
    without, _ = write_report(make_findings(), sources, tmp_path / "1.dcm")
    compared, _ = write_report(make_findings(), sources, tmp_path / "2.dcm", prior=prior)
    assert without.sop_instance_uid != compared.sop_instance_uid


def test_a_changed_report_names_its_predecessor_and_an_equal_one_is_the_same_again(
    sources: list[Path], tmp_path: Path
) -> None:
    """First, changed, changed back: three objects, each naming the one before; said again, each is the same object."""
    paths = [tmp_path / f"{number}.dcm" for number in range(3)]
    said = [make_findings(), make_findings(lesion_mean_hu=-512.0), make_findings()]
    uids: list[str | None] = []
    before: Path | None = None
    for findings, path in zip(said, paths, strict=True):
        written, report = write_report(findings, sources, path, in_force=before)
        again, _ = write_report(findings, sources, tmp_path / "again.dcm", in_force=path)
        assert again.artefact() == written.artefact()
        named = [
            (study.StudyInstanceUID, series.SeriesInstanceUID, instance.ReferencedSOPInstanceUID)
            for study in report.get("PredecessorDocumentsSequence", [])
            for series in study.ReferencedSeriesSequence
            for instance in series.ReferencedSOPSequence
        ]
        if before is None:
            assert named == []
        else:
            older = pydicom.dcmread(before)
            assert named == [(older.StudyInstanceUID, older.SeriesInstanceUID, older.SOPInstanceUID)]
            assert "Error" not in dciodvfy(path)
        uids.append(written.sop_instance_uid)
        before = path
    assert len(set(uids)) == 3


def test_a_report_tells_what_has_changed_and_refers_to_the_report_of_then(
    sources: list[Path], prior: Prior, tmp_path: Path
) -> None:
    """Figures with codes of their own under the date of then, a sentence, a reference, and the evidence for it."""
    write_sr(make_findings(), sources, tmp_path / "sr.dcm", prior=prior)
    report = pydicom.dcmread(tmp_path / "sr.dcm")
    group = measurement_groups(report)["Change since an earlier examination"]
    assert numbers_of(group) == {
        "EARLIER_BURDEN": (3.0, "%"),
        "BURDEN_CHANGE": (7.003, "%"),
        "LUNG_CHANGE": (-100.0, "cm3"),
        "GGO_CHANGE": (200.123, "cm3"),
        "HIGH_CHANGE": (77.0, "cm3"),
    }
    (time_point,) = [item.TextValue for item in group.ContentSequence if name_code(item) == "C2348792"]
    assert time_point == "2020-02-03"
    assert any("2020-02-03, 31 days before: burden 3.0 % then, 10.0 % now" in text for text in texts_of(report))
    (reference,) = [item for item in content_items(report) if item.ValueType == "COMPOSITE"]
    assert prior.report_path is not None
    earlier = pydicom.dcmread(prior.report_path)
    assert name_code(reference) == "122075"
    assert reference.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == earlier.SOPInstanceUID
    (other,) = report.PertinentOtherEvidenceSequence
    assert other.StudyInstanceUID == earlier.StudyInstanceUID
    assert other.ReferencedSeriesSequence[0].SeriesInstanceUID == earlier.SeriesInstanceUID
    assert numbers_of(measurement_groups(report)["Lungs as a whole"])["BURDEN"] == (10.003, "%")


def test_a_prior_whose_report_is_gone_is_told_without_a_reference(
    sources: list[Path], prior: Prior, tmp_path: Path
) -> None:
    """The figures of then are in the database; only the reference is missing."""
    lost = replace(prior, report_path=tmp_path / "gone.dcm")
    out = tmp_path / "sr.dcm"
    write_sr(make_findings(), sources, out, prior=lost)
    report = pydicom.dcmread(out)
    assert "Change since an earlier examination" in measurement_groups(report)
    assert [item for item in content_items(report) if item.ValueType == "COMPOSITE"] == []
    assert "PertinentOtherEvidenceSequence" not in report


def test_images_that_cannot_be_analysed_yield_no_figure_of_opacity(sources: list[Path], tmp_path: Path) -> None:
    """Lung volume and the figures of quality are there; burden, shares, counts and volumes of opacity are not."""
    quality = Quality(level=QualityLevel.NOT_ANALYSABLE, reasons=("Noise.",), noise_hu=180.0, air_hu=-990.0)
    _, report = write_report(make_findings(quality=quality, lss=3, lhos=0), sources, tmp_path / "sr.dcm")
    groups = measurement_groups(report)
    assert numbers_of(groups["Lungs as a whole"]) == {
        "IMAGE_NOISE": (180.0, "[hnsf'U]"),
        "OUTSIDE_AIR": (-990.0, "[hnsf'U]"),
    }
    assert numbers_of(groups["Right lung"]) == {"118565006": (2200.0, "cm3")}
    assert numbers_of(groups["Ground-glass opacity, left lung"]) == {}
    assert numbers_of(groups["All opacities, both lungs"]) == {}
    assert not any(re.search(r"\d %|\d mL", text) for text in texts_of(report))
    assert wording.NOT_MEASURED in texts_of(report)


@pytest.mark.parametrize(
    ("borders", "said"),
    [
        ((), "shape of the lungs."),
        (
            ("left oblique", "right oblique"),
            "shape of the lungs; at a fissure that the images show: left oblique, right oblique border.",
        ),
    ],
)
def test_what_the_lobes_rest_on_is_said(
    borders: tuple[str, ...], said: str, sources: list[Path], tmp_path: Path
) -> None:
    """Estimated from the shape alone, or with borders at fissures; nothing where there are no lobes."""
    lobes = {lobe: region_of(800.0, 60.0, 20.0) for lobe in Lobe}
    _, report = write_report(make_findings(lobes=lobes, borders_on_fissures=borders), sources, tmp_path / "sr.dcm")
    assert f"Lobes are estimated from the {said}" in texts_of(report)
    _, without = write_report(make_findings(), sources, tmp_path / "without.dcm")
    assert not any("estimated from the shape" in text for text in texts_of(without))


def test_lobes_in_part_and_absent_scores_are_said(sources: list[Path], tmp_path: Path) -> None:
    """Which lobe is imaged in part, and that it is why there are no scores."""
    findings = make_findings(
        lobes={lobe: region_of(800.0, 60.0, 20.0) for lobe in Lobe},
        lobes_in_part=(Lobe.LEFT_UPPER,),
        scores_absent_because=("The left upper lobe is imaged in part.",),
        largest_lesion_ml=120.0,
        peripheral_lesion_percent=70.0,
        peripheral_lung_percent=40.0,
    )
    _, report = write_report(findings, sources, tmp_path / "sr.dcm")
    texts = texts_of(report)
    assert "Left upper lobe (imaged in part)." in texts
    assert any("are not given: The left upper lobe is imaged in part." in text for text in texts)
    opacities = numbers_of(measurement_groups(report)["All opacities, both lungs"])
    assert opacities["LARGEST_OPACITY"] == (120.0, "cm3")
    assert (opacities["PERIPH_OPACITY"], opacities["PERIPH_LUNG"]) == ((70.0, "%"), (40.0, "%"))


def test_each_group_names_the_network_that_told_it(sources: list[Path], tmp_path: Path) -> None:
    """Opacities by the lesion model, lungs and lobes by theirs; the weights of all stand in the series' group."""
    lungs = Algorithm(name="right and left lung", version="2", weights_sha256="cd" * 32, runtime="torch 2.13")
    lobes = Algorithm(name="lobes", version="3", weights_sha256="ef" * 32, runtime="torch 2.13")
    findings = make_findings(lobes={Lobe.RIGHT_UPPER: region_of(800.0, 10.0, 0.0)})
    findings = replace(findings, provenance=replace(findings.provenance, lungs=lungs, lobes=lobes))
    _, report = write_report(findings, sources, tmp_path / "sr.dcm")
    named = {name: _algorithm(group) for name, group in measurement_groups(report).items()}
    assert named["Lungs as a whole"][:2] == ("opacity-convlstm", "1.0.0")
    assert named["Ground-glass opacity, left lung"][:2] == ("opacity-convlstm", "1.0.0")
    assert named["Left lung"][:2] == ("right and left lung", "2")
    assert named["Right upper lobe"][:2] == ("lobes", "3")
    for weights in ("ab", "cd", "ef"):
        assert any(weights * 32 in text for text in named["Lungs as a whole"])


def _algorithm(group: Dataset) -> tuple[str, ...]:
    """Name, version and parameters of a group's algorithm (TID 4019)."""
    texts = [(name_code(item), str(item.TextValue)) for item in content_items(group) if item.ValueType == "TEXT"]
    return tuple(text for wanted in ("111001", "111003", "111002") for code, text in texts if code == wanted)
