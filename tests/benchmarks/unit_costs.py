"""What one series costs a node: processor time to take it in and to analyse it, time and bytes of PostgreSQL.

``deploy/capacity.md`` is reckoned from these figures, which stand in ``tests/capacity/costs.toml``.
"""

import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

import psutil
from sqlalchemy import Engine, create_engine, text

from db import Store
from dicom_node.composition import build_worker
from dicom_node.settings import Receiver, Worker
from dicom_node.simulator import replay, send_files
from tests.benchmarks.store import fill

sys.path.append(str(Path(__file__).resolve().parents[1] / "factories"))
import node_harness as harness
from store_bench import STUDY, Bench, new_database

RESULTS, FEW, MANY, JOBS = 1000, 10, 60, 60


def main() -> None:
    """Measure each, and print it in the words of the file of costs."""
    with tempfile.TemporaryDirectory(prefix="bench-costs-") as name:
        folder = Path(name)
        _database(folder)
        data = Path(os.environ.get("LUNGSENTRY_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
        source = data / "dicom" / "covid_P001"
        if not source.is_dir():
            print(f"skipped: no real CT at {source} (set LUNGSENTRY_DATA)")
            return
        paths = replay(sorted(source.iterdir()), folder / "sent", salt="unit-costs")
        _receiving(folder / "receiver", paths)
        _analysis(folder / "worker", paths)


def _database(folder: Path) -> None:
    sizes: dict[int, int] = {}
    for each in (FEW, MANY):
        url = new_database("postgresql", folder)
        with Store.open(url) as store:
            Bench(store=store, url=url).analysed()
        engine = create_engine(url)
        empty = _bytes(engine)
        fill(engine, results=RESULTS, instances_a_series=each, alert_every=20, open_every=200)
        sizes[each] = _bytes(engine) - empty
        engine.dispose()
    instance = (sizes[MANY] - sizes[FEW]) / (RESULTS * (MANY - FEW))
    print(f"database_bytes_an_instance = {instance:.0f}")
    print(f"database_bytes_a_result = {sizes[FEW] / RESULTS - FEW * instance:.0f}")
    url = new_database("postgresql", folder)
    with Store.open(url) as store:
        bench = Bench(store=store, url=url)
        times: list[float] = []
        for number in range(JOBS):
            started = time.perf_counter()
            bench.record(bench.running(f"{STUDY}.{number}"))
            times.append(time.perf_counter() - started)
    print(f"database_s_a_job = {median(times):.3f}")


def _bytes(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text("SELECT pg_database_size(current_database())")) or 0)


def _receiving(folder: Path, paths: list[Path]) -> None:
    settings = harness.quick_settings(folder).model_copy(
        update={"receiver": Receiver(host="127.0.0.1", port=0, accept_unknown_peers=True, processes=2)}
    )
    with harness.running_node(settings) as (node, port):
        tree = [
            one for one in psutil.Process(node.pid).children(recursive=True) if "receiver" in " ".join(one.cmdline())
        ]
        assert len(tree) == 1 + settings.receiver.processes
        before = _processor_s(tree)
        assert send_files(paths, host="127.0.0.1", port=port).ok
        print(f"receiver_processor_s_an_instance = {(_processor_s(tree) - before) / len(paths):.5f}")


def _processor_s(tree: list[psutil.Process]) -> float:
    return sum(sum(one.cpu_times()[:2]) for one in tree)


def _analysis(folder: Path, paths: list[Path]) -> None:
    settings = harness.quick_settings(folder, url=new_database("postgresql", folder)).model_copy(
        update={"worker": Worker(device="cpu", threads=1)}
    )
    with Store.open(settings.database_url) as store:
        worker = build_worker(settings)
        times: list[float] = []
        harness.queue(settings, store, paths)
        job = store.jobs.claim("bench", 3600)
        assert job is not None
        worker._name = "bench"
        started = time.process_time()
        worker.run_job(job, threading.Event())
        times.append(time.process_time() - started)
    size = sum(file.stat().st_size for file in settings.results_dir.rglob("*") if file.is_file())
    print(f"analysis_processor_s = {median(times):.1f}  # of {len(paths)} images")
    print(f"analysis_images = {len(paths)}")
    print(f"result_bytes = {size}")
    print(f"instance_bytes = {sum(path.stat().st_size for path in paths) // len(paths)}")
