"""How long a flagged case takes: from the last C-STORE response of a real chest CT to its alert row.

The node runs as ``lungsentry serve`` does, with the default quiet time of a complete series, which is part of the
figure and printed beside it. Each repeat sends the series under new UIDs, so nothing is answered from before.
"""

import os
import statistics
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from db import Store
from dicom_node.cli.demo_node import demo_settings, running_node, wait_for_series
from dicom_node.settings import Completion, Settings
from dicom_node.simulator import replay, send_files

_REPEATS = 3
_TIMEOUT_S = 600.0
_CALLING_AE_TITLE = "SIMSCANNER"


def main() -> None:
    """Send, wait, print."""
    data = Path(os.environ.get("LUNGSENTRY_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
    source = data / "dicom" / "covid_P001"
    if not source.is_dir():
        print(f"skipped: no real CT at {source} (set LUNGSENTRY_DATA)")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = demo_settings(Settings(), folder).model_copy(update={"completion": Completion()})
        waits = []
        with running_node(settings, folder, _CALLING_AE_TITLE) as node, Store.open(settings.database_url) as store:
            for repeat in range(_REPEATS):
                paths = replay(sorted(source.iterdir()), folder / f"sent-{repeat}", salt=f"alert-latency {repeat}")
                report = send_files(
                    paths,
                    host="127.0.0.1",
                    port=node.port,
                    calling_ae_title=_CALLING_AE_TITLE,
                    called_ae_title=settings.node.ae_title,
                )
                last_response = datetime.now(UTC)
                assert report.ok, [file.reason for file in report.not_stored]
                seen = {one.alert.series_instance_uid for one in store.alerts.list(states=None)}
                uid = next(
                    one.series_instance_uid
                    for one in store.series.list()
                    if one.series_instance_uid not in seen and one.instance_count == len(paths)
                )
                wait_for_series(node, [uid], _TIMEOUT_S)
                alert = next(one for one in store.alerts.list(states=None) if one.alert.series_instance_uid == uid)
                wait_s = (alert.created_at - last_response).total_seconds()
                result = store.results.latest(uid)
                steps = ", ".join(f"{step} {seconds:.1f}" for step, seconds in result.seconds.items()) if result else ""
                print(
                    f"repeat {repeat + 1}: {len(paths)} images in {report.seconds:.1f} s; "
                    f"last response to alert row {wait_s:.1f} s "
                    f"(quiet time {settings.completion.quiet_s:.0f} s; {steps})"
                )
                waits.append(wait_s)
    print(f"last C-STORE response to alert row, median of {_REPEATS}: {statistics.median(waits):.1f} s")
