"""One run of a fleet: everything is started, senders send, processes and the database die at random, all is judged."""

import random
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import node_harness as harness
from killable_postgresql import PostgreSQL
from pynetdicom import evt
from storage_scp import storage_scp

from db import Store
from dicom_node.node import prepare
from dicom_node.settings import Delivery, DicomDestination, Settings, Web
from tests.fleet.fleet import Fleet, Size, fleet_of
from tests.fleet.judgement import Judgement, Kept, is_settled, judge, overlaps

__all__ = ["Plan", "Run", "run"]

_KINDS = ("sr", "opacities")
_AWAY_S = 2
_FIRST_WITHIN_S = 120
_SETTLES_WITHIN_S = 300


def _say_nothing(_text: str) -> None:
    """Nobody watches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One member dies every ``every_s`` for ``seconds``; PostgreSQL once in the middle. ``seed`` says who dies when."""

    size: Size
    seconds: float
    every_s: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What was done to the fleet, and what came of it."""

    judgement: Judgement
    kills: Counter[str]
    settling_s: float


def run(plan: Plan, folder: Path, tell: Callable[[str], None] = _say_nothing) -> Run:
    """Strike as planned, in an empty folder; then let all come to rest, and judge."""
    kept = Kept()
    postgresql = PostgreSQL(Path(tempfile.mkdtemp(prefix="pg")))

    def take(event: evt.Event) -> int:
        kept.take(str(event.request.AffectedSOPInstanceUID), event.request.DataSet.getvalue())
        return 0x0000

    try:
        with storage_scp("PACS", take, kinds=_KINDS) as pacs:
            settings = _settings(folder / "node", postgresql, pacs)
            with fleet_of(plan.size, settings, folder) as fleet:
                fleet.start()
                harness.wait_until(lambda: fleet.sent, seconds=_FIRST_WITHIN_S, what="a series sent")
                deaths = _strike(plan, fleet, postgresql, tell)
                (folder / "stop").touch()
                with Store.open(settings.database_url) as store:
                    settling_s = _await_rest(store, fleet)
                    found = judge(settings, store, fleet.sent, kept, overlaps(fleet.journals, deaths))
    finally:
        postgresql.stop()
    kills = Counter({name: len(moments) for name, moments in deaths.items()})
    return Run(judgement=found, kills=kills, settling_s=settling_s)


def _settings(folder: Path, postgresql: PostgreSQL, pacs: DicomDestination) -> Settings:
    settings = harness.quick_settings(folder, url=postgresql.url)
    delivery = Delivery(lease_s=2, timeout_s=5, max_attempts=100, retry_base_s=0.5, sweep_s=0.2)
    settings = settings.model_copy(update={"destinations": (pacs,), "web": Web(port=0), "delivery": delivery})
    prepare(settings)
    (folder / "software").write_text("1.0.0")
    return settings


def _strike(plan: Plan, fleet: Fleet, postgresql: PostgreSQL, tell: Callable[[str], None]) -> dict[str, list[float]]:
    """Who was killed, and at which moments."""
    chance, deaths = random.Random(plan.seed), defaultdict[str, list[float]](list)
    began = time.monotonic()
    while (gone := time.monotonic() - began) < plan.seconds:
        if gone > plan.seconds / 2 and "postgresql" not in deaths:
            tell("PostgreSQL is killed")
            deaths["postgresql"].append(time.monotonic())
            postgresql.kill()
            threading.Event().wait(_AWAY_S)
            postgresql.start()
        member = chance.choice([one for one in fleet.members if not one.name.startswith("sender")])
        tell(f"{member.name} is killed")
        member.kill()
        deaths[member.name].append(time.monotonic())
        threading.Event().wait(plan.every_s)
        fleet.start()
    return deaths


def _await_rest(store: Store, fleet: Fleet) -> float:
    """Until the senders have ended and nothing waits any more; how long it took, in seconds."""
    began = time.monotonic()

    def rests() -> bool:
        fleet.start()
        return not fleet.sending and is_settled(store, fleet.sent)

    harness.wait_until(rests, seconds=_SETTLES_WITHIN_S, what="rest")
    return time.monotonic() - began
