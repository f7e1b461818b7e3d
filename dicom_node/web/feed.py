"""Events for open pages: read once for all of them, each told what it has not seen."""

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator
from datetime import timedelta

from starlette.concurrency import run_in_threadpool

from db import DatabaseUnavailable, StoredEvent
from db.store.feed import OVERLAP
from dicom_node.web.services import Services

__all__ = ["EventFeed"]

LOOK_EVERY_S = 0.5
PING_EVERY_S = 15.0
CHECK_EVERY_S = 30.0
MOST_AT_ONCE = 1000
_KEPT = 4000
_RETRY_MS = 2000


class EventFeed:
    """The newest events. Whoever looks first in half a second looks for everybody."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._looking = asyncio.Lock()
        self._looked = 0.0
        self._settled: int | None = None
        self._seen: set[int] = set()
        self._arrived: deque[StoredEvent] = deque(maxlen=_KEPT)
        self._count = 0

    async def frames(self, after: int | None, session_key: str) -> AsyncIterator[str]:
        """What an open page is sent, from this event on, until the process stops or the session ends."""
        yield f"retry: {_RETRY_MS}\n\n"
        told: set[int] = set()
        try:
            await self._look()
            place = self._count
            if after is not None:
                missed = await run_in_threadpool(self._services.store.feed.after, after, limit=MOST_AT_ONCE)
                told = {one.id for one in missed}
                yield _reset(missed[-1].id) if len(missed) == MOST_AT_ONCE else _frames(missed)
        except DatabaseUnavailable:
            return  # the page sees the end, says that it is not live, and comes back
        pinged = checked = time.monotonic()
        while not self._services.stop.is_set():
            try:
                await self._look()
            except DatabaseUnavailable:
                return
            if place < self._count:
                fresh = [one for one in self._since(place) if one.id not in told]
                place, told = self._count, set[int]()
                yield _frames(tuple(fresh))
            now = time.monotonic()
            if now - pinged > PING_EVERY_S:
                pinged = now
                yield "event: ping\ndata: {}\n\n"
            if now - checked > CHECK_EVERY_S:
                checked = now
                if not await run_in_threadpool(self._still_signed_in, session_key):
                    return
            await asyncio.sleep(LOOK_EVERY_S)

    def _since(self, place: int) -> list[StoredEvent]:
        behind = self._count - place
        return list(self._arrived)[-behind:] if behind else []

    def _still_signed_in(self, key: str) -> bool:
        services = self._services
        return (
            services.store.sessions.find(key, idle=services.idle, lifetime=services.lifetime, touch=False) is not None
        )

    async def _look(self) -> None:
        async with self._looking:
            if time.monotonic() - self._looked < LOOK_EVERY_S:
                return
            found = await run_in_threadpool(self._read)
            self._looked = time.monotonic()
            for one in found:
                if one.id not in self._seen:
                    self._seen.add(one.id)
                    self._arrived.append(one)
                    self._count += 1
            self._settle(found)

    def _read(self) -> tuple[StoredEvent, ...]:
        feed = self._services.store.feed
        if self._settled is None:
            self._settled = feed.last()
            self._seen.update(one.id for one in feed.after(self._settled, limit=MOST_AT_ONCE))
        return feed.after(self._settled, limit=MOST_AT_ONCE)

    def _settle(self, found: tuple[StoredEvent, ...]) -> None:
        """Numbers up to an event that is old enough come no more."""
        settled = self._services.clock() - OVERLAP - timedelta(seconds=1)
        old = [one.id for one in found if one.at < settled]
        if old and self._settled is not None and max(old) > self._settled:
            self._settled = max(old)
            self._seen = {one for one in self._seen if one > self._settled - MOST_AT_ONCE}


def _frames(events: tuple[StoredEvent, ...]) -> str:
    """Alerts by their number; of everything else only that something of its kind has happened, the newest last."""
    frames: dict[int, str] = {}
    others: dict[str, int] = {}
    for one in events:
        if one.subject_kind == "alert":
            data = json.dumps({"alert": int(one.subject_id), "what": one.event})
            frames[one.id] = f"id: {one.id}\nevent: alert\ndata: {data}\n\n"
        else:
            others[one.subject_kind] = one.id
    for kind, number in others.items():
        frames[number] = f"id: {number}\nevent: node\ndata: {json.dumps({'what': kind})}\n\n"
    return "".join(frames[number] for number in sorted(frames)) or ": nothing\n\n"


def _reset(number: int) -> str:
    return f"id: {number}\nevent: reset\ndata: {{}}\n\n"
