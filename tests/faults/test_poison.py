"""A poison of each kind beside healthy work of its kind: the healthy work ends as it does alone, and hardly later.

What "hardly later" means is told in looks of the scheduler and in time: at most twice what the same work takes alone,
measured in the same run. Time is this process's computing where poison can only cost computing, so that a busy machine
has no say, and time of the clock where it could also keep somebody waiting.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import node_harness as harness
import pydicom
import pytest
from inbound_bench import InboundBench, inbound_bench
from model_folders import write_model
from outbound_program import stand_in_analysis
from pydicom.config import disable_value_validation
from pydicom.uid import CTImageStorage
from raw_peer import (
    ACCEPT,
    REJECT,
    RawPeer,
    associate_request,
    data_pdu,
    encode,
    fragments,
    release_request,
    store_command,
)
from storage_scp import storage_scp
from typer.testing import CliRunner

from alerts import DeliveryState
from analysis.findings import Profile
from analysis.model.registry import Registry
from analysis.series import Screening, Series
from db import JobState, ModelRole, Peer, SeriesState, Store
from dicom_node.cli import app
from dicom_node.completion import triage
from dicom_node.composition import build_worker, delivery_channels, node_sweeps, worker_with
from dicom_node.failing_units import FailingUnits
from dicom_node.node import prepare
from dicom_node.settings import Completion, Delivery, DicomDestination, Settings, Tls
from dicom_node.sweeps import Sweeps

HEALTHY = 4
MOST_LOOKS = 20
NOTICED_S = 5.0
"""What a time of the clock may differ by anyhow."""
SILENT_S = 20.0
"""A silent partner keeps its own caller for so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cost:
    """What the healthy work took until it ended."""

    looks: int
    computing_s: float

    def is_that_of(self, alone: "_Cost") -> bool:
        return self.looks <= 2 * alone.looks and self.computing_s <= 2 * alone.computing_s + NOTICED_S


def _settings(folder: Path) -> Settings:
    """A series is complete as soon as its sender has gone: looks are counted, and nobody waits for a quiet time."""
    settings = harness.quick_settings(folder)
    receiver = settings.receiver.model_copy(update={"processes": 1, "max_instance_bytes": 4 << 20})
    at_once = Completion(quiet_s=0, incomplete_quiet_s=0, sweep_s=0.1)
    return settings.model_copy(update={"completion": at_once, "receiver": receiver})


def _silent(_peer: RawPeer, _path: Path) -> None:
    """Nothing comes before it."""


def _ended(bench: InboundBench, healthy: Sequence[str]) -> bool:
    return all(bench.of(uid).state is SeriesState.EXCLUDED for uid in healthy)


def _nothing(_bench: InboundBench) -> None:
    """There is no more to it."""


def _cost(
    settings: Settings,
    send: Callable[[InboundBench], Sequence[list[Path]]],
    judge: Callable[[InboundBench], object] = _nothing,
) -> _Cost:
    """Send by the real receiver; look until the healthy series have ended, by the worker's word, at the first try."""
    with inbound_bench(settings) as bench:
        began = time.process_time()
        healthy = [harness.series_uid(paths) for paths in send(bench)]
        bench.lungless.update(healthy)
        looks = 0
        while not _ended(bench, healthy):
            bench.tick()
            looks += 1
            assert looks < MOST_LOOKS
        cost = _Cost(looks=looks, computing_s=time.process_time() - began)
        assert all("lung" in str(bench.of(uid).reason) for uid in healthy)
        jobs = {job.series_instance_uid: job for job in bench.store.jobs.list()}
        assert [(jobs[uid].state, jobs[uid].attempt) for uid in healthy] == [(JobState.SUCCEEDED, 1)] * len(healthy)
        judge(bench)
        return cost


def _stored(peer: RawPeer, uid: str, encoded: bytes) -> int:
    peer.socket.sendall(data_pdu(store_command(uid, CTImageStorage), 3) + b"".join(fragments(encoded)))
    return peer.status()


def _send(
    bench: InboundBench, paths: Sequence[Path], *, before_each: Callable[[RawPeer, Path], None] = _silent
) -> None:
    """All on one association that is accepted at the first try, each taken at the first try."""
    peer = RawPeer(bench.port)
    assert peer.associate() == ACCEPT
    for path in paths:
        before_each(peer, path)
        dataset = pydicom.dcmread(path)
        assert _stored(peer, str(dataset.SOPInstanceUID), encode(dataset)) == 0
    peer.socket.sendall(release_request())
    assert peer.read_pdu() is not None
    peer.socket.close()


def _send_healthy(bench: InboundBench) -> list[list[Path]]:
    series = [harness.write_ct(bench.settings.node.data_dir / f"ct{number}") for number in range(HEALTHY)]
    for paths in series:
        _send(bench, paths)
    return series


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> _Cost:
    """What healthy series cost by themselves, once everything is loaded."""
    _cost(_settings(tmp_path_factory.mktemp("warm")), _send_healthy)
    return _cost(_settings(tmp_path_factory.mktemp("alone")), _send_healthy)


# ---- instances ---------------------------------------------------------------------------------------------------


def _cut(encoded: bytes) -> bytes:
    return encoded[: len(encoded) // 2]


def _renamed(encoded: bytes) -> bytes:
    return encoded.replace(b"1.2.826.0.1.3680043.8.498", b"1.2.826.0.1.3680043.8.499", 1)


def _nested(_encoded: bytes) -> bytes:
    return b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 10_000


@pytest.mark.parametrize(("poison", "status"), [(_cut, 0xC210), (_renamed, 0xA900), (_nested, 0xC210)])
def test_poison_instance(tmp_path: Path, alone: _Cost, poison: Callable[[bytes], bytes], status: int) -> None:
    """Before each slice of an association comes one that cannot be taken: each gets the answer that it is due."""

    def spoil(peer: RawPeer, path: Path) -> None:
        dataset = pydicom.dcmread(path)
        assert _stored(peer, str(dataset.SOPInstanceUID), poison(encode(dataset))) == status

    def send(bench: InboundBench) -> list[list[Path]]:
        series = [harness.write_ct(tmp_path / f"ct{number}") for number in range(HEALTHY)]
        for paths in series:
            _send(bench, paths, before_each=spoil)
        return series

    beside = _cost(_settings(tmp_path / "beside"), send)
    assert beside.is_that_of(alone), (beside, alone)


# ---- series ------------------------------------------------------------------------------------------------------


def _lies_nowhere(bench: InboundBench, paths: list[Path], _patch: pytest.MonkeyPatch) -> None:
    for path in paths[3:5]:
        with disable_value_validation():
            dataset = pydicom.dcmread(path)
            dataset.ImagePositionPatient = [0, 0, "1.7e308"]
            dataset.save_as(path)
    _send(bench, paths)


def _rots_on_disk(bench: InboundBench, paths: list[Path], _patch: pytest.MonkeyPatch) -> None:
    _send(bench, paths)
    for stored in bench.store.intake.series_paths(harness.series_uid(paths)):
        (bench.settings.archive_dir / stored.path).write_bytes(b"rotten" * 1000)


def _dies_in_analysis(bench: InboundBench, paths: list[Path], _patch: pytest.MonkeyPatch) -> None:
    bench.failing.add(harness.series_uid(paths))
    _send(bench, paths)


def _finds_a_fault_of_ours(bench: InboundBench, paths: list[Path], patch: pytest.MonkeyPatch) -> None:
    screen, poison = triage.screen_series, harness.series_uid(paths)

    def faulty(series: Series) -> tuple[Series, Screening]:
        if series.series_instance_uid == poison:
            raise ZeroDivisionError
        return screen(series)

    patch.setattr(triage, "screen_series", faulty)
    _send(bench, paths)


Poisoned = Callable[[InboundBench, list[Path], pytest.MonkeyPatch], None]


@pytest.mark.parametrize("poison", [_lies_nowhere, _rots_on_disk, _dies_in_analysis, _finds_a_fault_of_ours])
def test_poison_series(tmp_path: Path, alone: _Cost, monkeypatch: pytest.MonkeyPatch, poison: Poisoned) -> None:
    """A series that cannot be screened or analysed comes first; it ends with its reason, the others as if alone."""
    spoilt = harness.write_ct(tmp_path / "poison")

    def send(bench: InboundBench) -> list[list[Path]]:
        poison(bench, spoilt, monkeypatch)
        return _send_healthy(bench)

    def judge(bench: InboundBench) -> None:
        ended = bench.of(harness.series_uid(spoilt))
        assert ended.state in {SeriesState.EXCLUDED, SeriesState.FAILED}
        assert ended.reason

    beside = _cost(_settings(tmp_path / "beside"), send, judge)
    assert beside.is_that_of(alone), (beside, alone)


# ---- studies -----------------------------------------------------------------------------------------------------


def test_poison_study(tmp_path: Path, alone: _Cost, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study of many series waits first: it takes its share of the look in which the others end, and no more."""
    monkeypatch.setattr(triage, "AT_ONCE", 2)
    study = pydicom.uid.generate_uid()

    def send(bench: InboundBench) -> list[list[Path]]:
        _send(bench, [harness.write_ct(tmp_path / f"s{one}", slices=1, study=study)[0] for one in range(40)])
        return _send_healthy(bench)

    def judge(bench: InboundBench) -> None:
        assert len(bench.store.series.list(states=[SeriesState.COMPLETE], limit=100)) == 40 - 2

    beside = _cost(_settings(tmp_path / "beside"), send, judge)
    assert beside.looks == alone.looks


# ---- peers -------------------------------------------------------------------------------------------------------


def _crowd(bench: InboundBench) -> list[RawPeer]:
    """Who holds all the associations it gets, who is refused and stays, who says half a request, and who nothing."""
    crowd = [RawPeer(bench.port, address="127.0.0.2") for _ in range(40)]
    for number, peer in enumerate(crowd):
        if number % 4 == 0:
            assert peer.associate(calling="GREEDY") in {ACCEPT, REJECT}
        elif number % 4 == 1:
            assert peer.associate(calling="NOBODY") == REJECT
        elif number % 4 == 2:
            peer.socket.sendall(associate_request()[:50])
    return crowd


def test_poison_peer(tmp_path: Path) -> None:
    """Peers that take what they can and give nothing back: a scanner gets in at the first try, and its series end."""

    def settings_of(folder: Path) -> Settings:
        settings = _settings(folder)
        bounds = {"accept_unknown_peers": False, "max_associations": 10, "max_associations_per_peer": 5}
        return settings.model_copy(update={"receiver": settings.receiver.model_copy(update=bounds)})

    def send(bench: InboundBench, *, beside: bool) -> list[list[Path]]:
        for title in ("SCANNER", "GREEDY"):
            bench.store.peers.allow(Peer(ae_title=title, called_ae_title=None, cidr=None, host=None, port=None))
        crowd = _crowd(bench) if beside else []
        try:
            began = time.monotonic()
            series = _send_healthy(bench)
            took.append(time.monotonic() - began)
        finally:
            for peer in crowd:
                peer.socket.close()
        return series

    took: list[float] = []
    costs = [
        _cost(settings_of(tmp_path / name), partial(send, beside=name == "beside"))
        for name in ("warm", "alone", "beside")
    ]
    assert costs[2].looks <= 2 * costs[1].looks
    assert took[2] <= 2 * took[1] + NOTICED_S, took


# ---- destinations ------------------------------------------------------------------------------------------------


@contextmanager
def _answering(then: Callable[[socket.socket], object]) -> Iterator[int]:
    """A destination that takes a connection, and does this with it."""

    def serve(listening: socket.socket) -> None:
        while True:
            try:
                connection = listening.accept()[0]
            except OSError:
                return
            threading.Thread(target=_then, args=(connection, then), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        yield listening.getsockname()[1]


def _then(connection: socket.socket, then: Callable[[socket.socket], object]) -> None:
    with connection:
        try:
            then(connection)
        except OSError:
            return


def _flood(connection: socket.socket) -> None:
    """An A-ASSOCIATE-AC that announces 4 GiB, and as much of it as anybody takes."""
    connection.recv(100_000)
    connection.sendall(b"\x02\0\xff\xff\xff\xf0")
    while True:
        connection.sendall(bytes(65_536))


def _deliveries(settings: Settings, sent: threading.Event) -> tuple[float, Store]:
    """Two results, analysed and delivered as the scheduler does it; the seconds until the healthy one had both."""
    prepare(settings)
    store = Store.open(settings.database_url)
    for number in range(2):
        harness.queue(settings, store, harness.write_ct(settings.node.data_dir / f"ct{number}"))
        worker = worker_with(
            settings=settings, store=store, analyse=lambda series, _tell: stand_in_analysis(settings, series)
        )
        assert harness.run_due_job(store, worker).state is JobState.SUCCEEDED
    looks = node_sweeps(settings, store, delivery_channels(settings, store))
    sweeps = Sweeps(looks, leads=lambda: True, failing=FailingUnits(store.failing_units))
    began = time.monotonic()
    for sweep in looks:
        if sweep.name == "deliveries":
            sweeps.tick(sweep)
    assert sent.wait(SILENT_S)
    return time.monotonic() - began, store


def test_poison_destination(tmp_path: Path) -> None:
    """One is silent, one floods, one refuses, one is nowhere: the one that takes everything has it at the first try."""

    def run(folder: Path, beside: Sequence[DicomDestination]) -> tuple[float, list[tuple[DeliveryState, int]]]:
        got, both = list[str](), threading.Event()

        def keep(event: object) -> int:
            got.append(str(event))
            if len(got) == 2:
                both.set()
            return 0x0000

        with storage_scp("UP", keep) as up:
            settings = harness.quick_settings(folder).model_copy(
                update={"destinations": (*beside, up), "delivery": Delivery(timeout_s=SILENT_S, max_attempts=2)}
            )
            folder.mkdir()
            (folder / "software").write_text("1")
            seconds, store = _deliveries(settings, both)
            with store:
                mine = harness.wait_until(
                    lambda: (
                        (found := [one for one in store.deliveries.list() if one.destination == "UP"])
                        and all(one.state is DeliveryState.SENT for one in found)
                        and found
                    ),
                    what="both receipts",
                )
                return seconds, [(one.state, one.attempt) for one in mine]

    alone, _ = run(tmp_path / "warm", [])
    alone, states = run(tmp_path / "alone", [])
    assert states == [(DeliveryState.SENT, 1)] * 2
    over = threading.Event()
    with ExitStack() as stack:
        stack.callback(over.set)
        silent = stack.enter_context(_answering(lambda _: over.wait(2 * SILENT_S)))
        floods = stack.enter_context(_answering(_flood))
        refuses = stack.enter_context(storage_scp("REFUSES", lambda _: 0xA900))
        poison = [
            DicomDestination(ae_title="SILENT", host="127.0.0.1", port=silent),
            DicomDestination(ae_title="FLOODS", host="127.0.0.1", port=floods),
            DicomDestination(ae_title="NOWHERE", host="pacs.invalid", port=104),
            refuses,
        ]
        beside, states = run(tmp_path / "beside", poison)
    assert states == [(DeliveryState.SENT, 1)] * 2
    assert beside <= 2 * alone + NOTICED_S


# ---- model folders -----------------------------------------------------------------------------------------------


def _no_number(folder: Path) -> None:
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace("-700.0", "NaN"))


def _edited(folder: Path) -> None:
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace("-700.0", "-300.0"))


def _pipe(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")


def _endless(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("/dev/zero")


@pytest.mark.parametrize("poison", [_no_number, _edited, _pipe, _endless])
def test_poison_model_folder(tmp_path: Path, poison: Callable[[Path], None]) -> None:
    """The model of one profile was tampered with: its jobs fail with the reason, those of the other are done."""
    settings = _settings(tmp_path / "node")
    prepare(settings)
    write_model(tmp_path / "good", version="1.0")
    write_model(tmp_path / "bad", version="2.0", seed=1)
    registry = Registry(directory=settings.models_dir)
    with Store.open(settings.database_url) as store:
        for name, profile in (("good", Profile.CHEST_CT), ("bad", Profile.CTAC)):
            manifest = registry.install(tmp_path / name).manifest
            store.models.assign(
                profile,
                ModelRole.ACTIVE,
                name=manifest.name,
                version=manifest.version,
                sha256=manifest.sha256,
                who="tester",
            )
        poison(settings.models_dir / "stub@2.0")
        healthy = harness.queue(settings, store, harness.write_ct(tmp_path / "ct"))
        attenuation = harness.write_ct(tmp_path / "ac", SeriesDescription="CT for attenuation correction")
        spoilt = harness.queue(settings, store, attenuation)
        worker = build_worker(settings)
        jobs = {(job := harness.run_due_job(store, worker)).series_instance_uid: job for _ in range(2)}
        assert (jobs[healthy].state, jobs[healthy].attempt) == (JobState.SUCCEEDED, 1)
        assert (jobs[spoilt].state, jobs[spoilt].attempt) == (JobState.FAILED, 1)
        assert jobs[spoilt].cause
    listed = Registry(directory=settings.models_dir).list()
    assert "stub@1.0" in {one.reference for one in listed.models}


# ---- settings ----------------------------------------------------------------------------------------------------


def test_poison_settings(tmp_path: Path, alone: _Cost) -> None:
    """A PACS that nobody knows and certificates that are not there: series end as they always do."""

    def spoilt(folder: Path) -> Settings:
        settings = _settings(folder)
        return settings.model_copy(
            update={
                "completion": settings.completion.model_copy(update={"pacs": "NOBODY"}),
                "tls": Tls(certificates=tmp_path / "nowhere"),
            }
        )

    beside = _cost(spoilt(tmp_path / "beside"), _send_healthy)
    assert beside.is_that_of(alone), (beside, alone)


def test_poison_settings_file_is_refused_and_touches_no_node(tmp_path: Path) -> None:
    """A file that is no settings ends in a sentence for whoever names it; the node beside it is as it was."""
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text(f'[node]\ndata_dir = "{tmp_path / "node"}"\n')
    bad.write_text(f'[node]\ndata_dir = "{tmp_path / "node"}"\nda_dir = "secret-value"\n[worker]\nlease_s = nan\n')
    prepare(Settings.model_validate({"node": {"data_dir": tmp_path / "node"}}))
    refused = CliRunner().invoke(app, ["--config", str(bad), "status"])
    assert refused.exit_code == 2
    assert "da_dir" in refused.output
    assert "secret-value" not in refused.output
    assert CliRunner().invoke(app, ["--config", str(good), "status"]).exit_code == 0
