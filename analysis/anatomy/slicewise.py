"""The same work for each slice, on two threads: OpenCV and NumPy compute beside one another."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

_THREADS = 2


def for_each_slice(task: Callable[[int], None], count: int) -> None:
    """Call a task that works in place with each index of ``count`` slices; what one raises is raised here."""
    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        for _ in pool.map(task, range(count)):
            pass
