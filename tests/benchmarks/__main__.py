"""``python -m tests.benchmarks [NAME ...]``: runs the benchmarks named, or all, and names the machine."""

import argparse
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.benchmarks import (
    alert_latency,
    measuring,
    queue,
    receive,
    result_objects,
    start_up,
    store,
    unit_costs,
    worklist,
)

BENCHMARKS: Mapping[str, Callable[[], None]] = {
    "alert-latency": alert_latency.main,
    "measuring": measuring.main,
    "queue": queue.main,
    "receive": receive.main,
    "result-objects": result_objects.main,
    "start-up": start_up.main,
    "store": store.main,
    "unit-costs": unit_costs.main,
    "worklist": worklist.main,
}


def machine() -> str:
    """The processor, its cores and the memory, as the operating system tells them."""
    cpu_info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in cpu_info.read_text().splitlines() if "model name" in line]
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, {memory_gib:.0f} GiB"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run them one after the other."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; none means all")
    names = parser.parse_args(arguments).names or list(BENCHMARKS)
    if unknown := set(names) - set(BENCHMARKS):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}")
    print(f"machine: {machine()}; Python {platform.python_version()}")
    for name in names:
        print(f"== {name}")
        BENCHMARKS[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
