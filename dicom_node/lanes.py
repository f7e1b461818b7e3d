"""Lanes: what is slow for one partner is slow for nobody else. Each lane is a thread that lasts as long as its work."""

import threading
from collections.abc import Callable

__all__ = ["Lanes"]


class Lanes:
    """At most so many pieces of work at once, and never two under one name."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._at_work: dict[str, threading.Thread] = {}
        self._mutex = threading.Lock()

    def start(self, name: str, work: Callable[[], object]) -> bool:
        """Do ``work`` in the lane ``name``; False, and nothing is begun, where it or every lane is at work."""
        with self._mutex:
            if name in self._at_work or len(self._at_work) >= self._most:
                return False
            thread = threading.Thread(target=self._work, args=(name, work), name=f"lane-{name}", daemon=True)
            thread.start()  # where the machine has no thread left this raises, and the lane is not taken
            self._at_work[name] = thread
            return True

    def wait(self) -> None:
        """Until every lane that is at work now has done its work."""
        with self._mutex:
            threads = tuple(self._at_work.values())
        for thread in threads:
            thread.join()

    def _work(self, name: str, work: Callable[[], object]) -> None:
        try:
            work()
        finally:
            with self._mutex:
                del self._at_work[name]
