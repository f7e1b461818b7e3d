"""A worker of a fleet whose analysis is a stand-in: ``python -m fleet_worker SETTINGS.json JOURNAL``.

Every analysis is a line when it begins and one when it ends: the word, the series, the revision, and the machine's
monotonic clock, which every process of the machine reads alike.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from outbound_program import stand_in_analysis

from analysis.pipeline import AnalysedSeries
from analysis.series import Series
from db import Store
from dicom_node.composition import worker_with
from dicom_node.logs import configure
from dicom_node.settings import Settings
from dicom_node.signals import stop_on

ANALYSIS_S = 0.2


def main(settings: Settings, journal: Path) -> None:
    """Work until SIGTERM."""
    descriptor = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(word: str, series: Series) -> None:
        line = f"{word} {series.series_instance_uid} {series.revision} {time.monotonic():.6f}\n"
        os.write(descriptor, line.encode())

    def analyse(series: Series, progress: Callable[[str], None]) -> AnalysedSeries:
        note("begin", series)
        progress("model")
        found = stand_in_analysis(settings, series)
        threading.Event().wait(ANALYSIS_S)
        note("end", series)
        return found

    with Store.open(settings.database_url) as store:
        worker_with(settings, store, analyse).run(stop_on(signal.SIGTERM))


if __name__ == "__main__":
    given = Settings.model_validate_json(Path(sys.argv[1]).read_text())
    configure(given.logging, role="worker")
    main(given, Path(sys.argv[2]))
