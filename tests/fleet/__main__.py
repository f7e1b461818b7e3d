"""``python -m tests.fleet``: three receivers, six workers, two schedulers, two worklists, on one PostgreSQL.

Four scanners send while processes are killed at random, and PostgreSQL once. Ends in a table; exit status 1 where
anything was lost, doubled or analysed twice at once.
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "factories"))

from rich.console import Console
from rich.table import Table

from tests.fleet.fleet import Size
from tests.fleet.run import Plan, Run, run


def main() -> int:
    """Run, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.fleet", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long processes are killed (default: 60)")
    parser.add_argument("--every", type=float, default=3, help="seconds between two kills (default: 3)")
    parser.add_argument("--seed", type=int, default=1, help="who dies when (default: 1)")
    given = parser.parse_args()
    errors = Console(stderr=True)
    plan = Plan(size=Size(), seconds=given.seconds, every_s=given.every, seed=given.seed)
    with tempfile.TemporaryDirectory(prefix="fleet-") as folder:
        done = run(plan, Path(folder), errors.print)
    Console().print(_table(plan, done))
    return 1 if done.judgement.faults else 0


def _table(plan: Plan, done: Run) -> Table:
    found = done.judgement
    killed: Counter[str] = Counter()
    for name, count in done.kills.items():
        killed[name.partition("-")[0]] += count
    table = Table(title="the fleet, after all came to rest")
    table.add_column("what")
    table.add_column("how many", justify="right")
    rows = {
        **{f"{name} killed": count for name, count in sorted(killed.items())},
        "series sent": found.series,
        "images acknowledged": found.images,
        "series analysed": found.analysed,
        "studies flagged": found.flagged,
        "reports at the destination": found.delivered,
        "images lost": len(found.lost_images),
        "series without a result": len(found.without_a_result),
        "alerts lost": len(found.without_its_alert),
        "alerts doubled": len(found.flagged_twice),
        "reports lost": len(found.not_delivered),
        "objects whose UID stands for two": len(found.delivered_as_something_else),
        "series analysed twice at once": len(found.analysed_twice_at_once),
        "seconds of kills": f"{plan.seconds:.0f}",
        "seconds until all was done": f"{done.settling_s:.0f}",
    }
    for what, count in rows.items():
        table.add_row(what, str(count))
    return table


if __name__ == "__main__":
    sys.exit(main())
