"""Orders of arrival, identities and requests as hospitals send them: through the receiver, the ticks and the worker."""

from collections.abc import Callable, Iterator, Sequence
from itertools import permutations
from pathlib import Path

import node_harness as harness
import pydicom
import pytest
from held_reactor import held_reactor
from inbound_bench import InboundBench, inbound_bench, settings_of
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE
from typer.testing import CliRunner

from alerts import AlertState
from analysis.findings import Profile
from db import DismissalReason, RequeueFilter, SeriesState
from dicom_node.cli.app import app
from dicom_node.settings import document
from dicom_node.simulator import Phantom, PhantomSpec, build_phantom, header_for, write_pet_series, write_series


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[InboundBench]:
    """A bench on SQLite."""
    with inbound_bench(settings_of("sqlite", tmp_path / "node")) as made:
        yield made


@pytest.fixture(scope="module")
def ill() -> Phantom:
    return build_phantom(PhantomSpec.ctac_opacities(matrix=128))


@pytest.fixture(scope="module")
def sound() -> Phantom:
    return build_phantom(PhantomSpec.ctac(matrix=128))


def _changed(paths: Sequence[Path], folder: Path, change: Callable[[Dataset], None]) -> list[Path]:
    """Copies of the files with something else in their headers."""
    folder.mkdir(parents=True)
    copies: list[Path] = []
    for number, path in enumerate(paths):
        dataset = pydicom.dcmread(path)
        change(dataset)
        copies.append(folder / f"{number:04d}.dcm")
        dataset.save_as(copies[-1])
    return copies


def _patient(**values: str) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        for keyword, value in values.items():
            setattr(dataset, keyword, value)

    return change


@pytest.mark.parametrize("order", list(permutations(("ct", "pt"))))
def test_profile_is_the_same_in_every_order_of_arrival(
    bench: InboundBench, tmp_path: Path, order: tuple[str, ...]
) -> None:
    """The CT of a PET/CT is judged as CTAC whether its PET comes first or when the CT is analysed already."""
    phantom = build_phantom(PhantomSpec.ctac(ggo_ml=75.0, matrix=128, seed=4))
    named = {
        "series_description": "CT WB 5.0 B30f",
        "protocol": "PETCT_WB",
        "model_name": "Biograph64",
        "kernel": "B30f",
    }
    sent = {
        "ct": _changed(
            write_series(phantom, tmp_path / "ct", header_for(phantom, salt="pet/ct", **named)),
            tmp_path / "wide",
            _patient(ReconstructionDiameter="780"),
        ),
        "pt": write_pet_series(phantom, tmp_path / "pt", header_for(phantom, salt="pet/ct", **named)),
    }
    ct, pt = harness.series_uid(sent["ct"]), harness.series_uid(sent["pt"])
    ends = {"ct": (ct, SeriesState.ANALYSED), "pt": (pt, SeriesState.EXCLUDED)}
    for kind in order:
        bench.send(sent[kind])
        bench.settle(*ends[kind])
    bench.settle(ct, SeriesState.ANALYSED)
    result = bench.store.results.latest(ct)
    assert result is not None
    assert (bench.of(ct).profile, result.findings.profile) == (Profile.CTAC, Profile.CTAC)
    assert bench.flagged() == [ct]


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_one_series_uid_of_two_patients_is_two_series(
    tmp_path: Path, ill: Phantom, sound: Phantom, database: str
) -> None:
    """The second patient's series overwrites nothing: each has its row, its result and its report."""
    uid = str(generate_uid())
    with inbound_bench(settings_of(database, tmp_path / "node")) as bench:
        of = {
            name: _changed(
                write_series(phantom, tmp_path / name, header_for(phantom, salt=name)),
                tmp_path / f"{name}-named",
                _patient(SeriesInstanceUID=uid, PatientID=name, PatientName=name),
            )
            for name, phantom in (("ALPHA", ill), ("BETA", sound))
        }
        studies = {name: str(pydicom.dcmread(paths[0]).StudyInstanceUID) for name, paths in of.items()}
        bench.send(of["ALPHA"])
        bench.settle(uid, SeriesState.ANALYSED)
        bench.send(of["BETA"])
        (other,) = (one.series_instance_uid for one in bench.store.series.list(study=studies["BETA"]))
        assert other != uid
        bench.settle(other, SeriesState.ANALYSED)

        assert (bench.of(uid).revision, bench.of(uid).instance_count) == (1, len(of["ALPHA"]))
        flagged = {one.series_instance_uid: one.alert.study_instance_uid for one in bench.store.alerts.list()}
        assert flagged[uid] == studies["ALPHA"]
        assert flagged.get(other, studies["BETA"]) == studies["BETA"]
        for key, name in ((uid, "ALPHA"), (other, "BETA")):
            result = bench.store.results.latest(key)
            assert result is not None
            report = pydicom.dcmread(bench.settings.results_dir / result.report.path)
            assert (report.PatientID, report.StudyInstanceUID) == (name, studies[name])
            (chosen,) = bench.store.requeue.select(RequeueFilter(study=studies[name]))
            assert (chosen.series_instance_uid, chosen.refusal) == (key, None)


def test_series_split_over_two_studies_is_told(bench: InboundBench, tmp_path: Path, ill: Phantom) -> None:
    """Half under each of two Study Instance UIDs, of one patient in one space: both say where the rest is."""
    paths = write_series(ill, tmp_path / "ct", header_for(ill, salt="split"))
    other = str(generate_uid())
    half = _changed(paths[30:], tmp_path / "other", _patient(StudyInstanceUID=other))
    bench.send([*paths[:30], *half])
    uid = harness.series_uid(paths)
    (rest,) = (one.series_instance_uid for one in bench.store.series.list(study=other))
    first, second = bench.settle(uid, SeriesState.EXCLUDED), bench.settle(rest, SeriesState.EXCLUDED)
    assert f"{len(half)} of its slices came under study {other}" in str(first.reason)
    assert "30 of its slices came under study" in str(second.reason)
    assert bench.ran == []


def test_dismissed_alert_is_open_again_when_the_rest_shows_more(
    bench: InboundBench, tmp_path: Path, ill: Phantom
) -> None:
    """Judged on a part with few opacities; the whole shows more: open, with the earlier decision to be seen."""
    paths = write_series(ill, tmp_path / "ct", header_for(ill, salt="dismissed"))
    uid = harness.series_uid(paths)
    bench.send(paths[:29])
    bench.settle(uid, SeriesState.ANALYSED)
    (alert,) = bench.store.alerts.list()
    bench.store.alerts.dismiss(alert.id, "dr", "old", reason=DismissalReason.KNOWN)
    bench.send(paths[29:])
    bench.settle(uid, SeriesState.ANALYSED, revision=2)
    (again,) = bench.store.alerts.list()
    assert again.alert.burden_percent > alert.alert.burden_percent + 1
    assert (again.state, again.decided_by, again.judged) == (AlertState.OPEN, "dr", alert.alert)


def test_corrected_patient_id_is_taken_up(bench: InboundBench, tmp_path: Path, ill: Phantom, sound: Phantom) -> None:
    """Sent again under the right ID: the study is that patient's, and is compared with that patient's prior alone."""

    def sent(phantom: Phantom, salt: str, date: str, patient: str) -> str:
        paths = write_series(phantom, tmp_path / salt, header_for(phantom, salt=salt, study_date=date))
        bench.send(_changed(paths, tmp_path / f"{salt}-{patient}", _patient(PatientID=patient, PatientName=patient)))
        return harness.series_uid(paths)

    wrong = sent(ill, "of wrong", "20260101", "WRONG")
    right = sent(sound, "of right", "20260115", "RIGHT")
    today = sent(ill, "today", "20260302", "WRONG")
    for uid in (wrong, right, today):
        bench.settle(uid, SeriesState.ANALYSED)
    assert [one.result.series_instance_uid for one in bench.store.results.earlier(today)] == [wrong]
    bench.send(
        _changed(
            sorted((tmp_path / "today").iterdir()), tmp_path / "corrected", _patient(PatientID="RIGHT", PatientName="R")
        )
    )
    bench.settle(today, SeriesState.ANALYSED, revision=2)
    assert [one.result.series_instance_uid for one in bench.store.results.earlier(today)] == [right]
    chosen = {one.series_instance_uid for one in bench.store.requeue.select(RequeueFilter(patient="RIGHT"))}
    assert chosen == {right, today}
    told = [one for one in bench.store.series.events(today) if one.event == "demographics_changed"]
    assert [one.detail for one in told] == ["changed: patient_id"]


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"IssuerOfPatientID": "HOSP_B"}, None),
        ({"IssuerOfPatientID": "HOSP_A", "PatientBirthDate": "19880707"}, "differ in birth date or sex"),
    ],
)
def test_same_patient_id_of_another_person_is_not_compared(
    bench: InboundBench, tmp_path: Path, ill: Phantom, other: dict[str, str], sentence: str | None
) -> None:
    """Another issuer is another person; a birth date that contradicts ends the comparison, and the result says so."""
    anna = {"PatientID": "12345", "IssuerOfPatientID": "HOSP_A", "PatientBirthDate": "19500101", "PatientSex": "F"}
    uids: list[str] = []
    for salt, date, who in (("anna", "20260101", anna), ("bert", "20260302", anna | other)):
        paths = write_series(ill, tmp_path / salt, header_for(ill, salt=salt, study_date=date))
        bench.send(_changed(paths, tmp_path / f"{salt}-named", _patient(**who)))
        uids.append(harness.series_uid(paths))
        bench.settle(uids[-1], SeriesState.ANALYSED)
    result = bench.store.results.latest(uids[1])
    assert result is not None
    assert bench.store.results.earlier(uids[1]) == ()
    assert (sentence or "flagged") in result.explanation.lower() or (sentence or "") in result.explanation
    report = pydicom.dcmread(bench.settings.results_dir / result.report.path)
    assert "PertinentOtherEvidenceSequence" not in report


def test_what_was_asked_for_is_expected(bench: InboundBench, tmp_path: Path, ill: Phantom) -> None:
    """The request names the disease in its sequence, as scanners copy it: flagged, and not as incidental."""
    paths = write_series(ill, tmp_path / "ct", header_for(ill, salt="asked", study_description="CT THORAX"))

    def ask(dataset: Dataset) -> None:
        request = Dataset()
        request.ReasonForTheRequestedProcedure = "known COVID-19 pneumonia"
        dataset.RequestAttributesSequence = [request]

    bench.send(_changed(paths, tmp_path / "asked", ask))
    bench.settle(harness.series_uid(paths), SeriesState.ANALYSED)
    (alert,) = bench.store.alerts.list()
    assert not alert.alert.incidental


def test_a_dotted_date_has_its_place_in_time(bench: InboundBench, tmp_path: Path, ill: Phantom, sound: Phantom) -> None:
    """The older form of a date: the examination of March is not earlier than that of January, but the other way."""

    def dotted(dataset: Dataset) -> None:
        with pydicom.config.disable_value_validation():
            del dataset.StudyDate
            dataset.StudyDate = "2026.03.02"

    uids: list[str] = []
    for phantom, date, change in ((ill, "20260302", dotted), (sound, "20260105", _patient(PatientComments="plain"))):
        paths = write_series(phantom, tmp_path / date, header_for(phantom, salt=date, study_date=date))
        bench.send(_changed(paths, tmp_path / f"{date} as sent", change))
        uids.append(harness.series_uid(paths))
        bench.settle(uids[-1], SeriesState.ANALYSED)
    march, january = uids
    assert bench.store.results.earlier(january) == ()
    assert [one.study_date for one in bench.store.results.earlier(march)] == ["20260105"]


def test_what_is_left_out_of_a_mixed_series_is_told(bench: InboundBench, tmp_path: Path, ill: Phantom) -> None:
    """Two kernels under one series UID: the soft one is analysed; result, report, `series show` and `why` name both."""
    paths = write_series(ill, tmp_path / "ct", header_for(ill, salt="mixed", kernel="B30f"))

    def sharpen(dataset: Dataset) -> None:
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.ConvolutionKernel = "B70f"

    bench.send([*paths, *_changed(paths[:40], tmp_path / "sharp", sharpen)])
    uid = harness.series_uid(paths)
    bench.settle(uid, SeriesState.ANALYSED)
    result, screening = bench.store.results.latest(uid), bench.store.series.why(uid)
    assert result is not None
    assert screening is not None
    told = f"taken: Convolution Kernel B30f ({len(paths)} slices); left out: Convolution Kernel B70f"
    assert result.findings.slice_count == len(paths)
    assert any(told in reason for reason in result.findings.quality.reasons)
    assert any(told in rule.value for rule in screening.results)
    assert told in result.explanation
    assert told.encode() in (bench.settings.results_dir / result.report.path).read_bytes()
    config = tmp_path / "lungsentry.toml"
    config.write_text(document(bench.settings))
    for words in (("series", "show", uid), ("why", uid)):
        done = CliRunner().invoke(app, ["--config", str(config), *words], env={"COLUMNS": "1000"})
        assert done.exit_code == 0, done.stderr
        assert told in " ".join(done.stdout.split())


def test_association_that_aborts_is_waited_for_long(bench: InboundBench, tmp_path: Path) -> None:
    """Cut off in mid-series, what came looks whole: it is not taken after the short time, and the note says why."""
    paths = harness.write_ct(tmp_path / "ct", slices=12)
    uid = harness.series_uid(paths)
    entity = AE(ae_title="SCANNER")
    entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", bench.port, ae_title="LUNGSENTRY")
    with held_reactor(association):
        assert [int(association.send_c_store(path).Status) for path in paths[:8]] == [0] * 8
    association.abort()
    bench.until(lambda: bench.store.intake.arrival(uid).broken_off, "the abort is noted")
    bench.until(lambda: bench.of(uid).state is not SeriesState.RECEIVING, "taken as it is")
    (complete,) = (one for one in bench.store.series.events(uid) if one.event == "complete")
    assert "the association that brought it broke off" in str(complete.detail)
