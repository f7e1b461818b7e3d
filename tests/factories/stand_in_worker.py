"""A worker process whose analysis is a stand-in: it excludes every series, after a hang where the test wants one.

Started as a role by the supervisor: ``python -m stand_in_worker worker MODE``. MODE is ``quick``, ``hang-first``
(the first analysis in the data folder never ends), ``hang`` (none ever ends) or ``until-told`` (each waits until there
is a file ``go-on``). Each analysis leaves a file
``analysis-N`` with its process id in the data folder, so that a test can see it begin.
"""

import os
import sys
import threading
from collections.abc import Callable
from itertools import count

from analysis.pipeline import ExcludedSeries
from analysis.series import Outcome, Rule, RuleResult, Screening, Series
from db import Store
from dicom_node.composition import worker_with
from dicom_node.node import report_ready, run_child
from dicom_node.settings import Settings


def run(settings: Settings, stop: threading.Event) -> None:
    mode = sys.argv[2]

    def analyse(_series: Series, progress: Callable[[str], None]) -> ExcludedSeries:
        progress("segmenting")
        number = next(n for n in count(1) if not (settings.node.data_dir / f"analysis-{n}").exists())
        marker = settings.node.data_dir / f"analysis-{number}"
        marker.with_suffix(".tmp").write_text(str(os.getpid()))
        marker.with_suffix(".tmp").rename(marker)
        if mode == "hang" or (mode == "hang-first" and number == 1):
            threading.Event().wait()
        while mode == "until-told" and not (settings.node.data_dir / "go-on").exists():
            threading.Event().wait(0.05)
        rule = RuleResult(rule=Rule.LUNG_PRESENT, value="none", expected="two lungs", outcome=Outcome.EXCLUDED)
        return ExcludedSeries(screening=Screening(results=(rule,), profile=None), seconds={"lungs": 0.1})

    with Store.open(settings.database_url) as store:
        worker = worker_with(settings=settings, store=store, analyse=analyse)
        report_ready()
        worker.run(stop)


if __name__ == "__main__":
    sys.exit(run_child(sys.argv[1], run))
