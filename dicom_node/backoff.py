"""How long to wait before something that failed is tried again, and whether to try at all."""

import random

__all__ = ["LONGEST_WAIT_S", "is_transient", "retry_delay_s"]

LONGEST_DELAY_S = 3600.0
_JITTER = (0.5, 1.5)
LONGEST_WAIT_S = LONGEST_DELAY_S * _JITTER[1]
"""Nothing is ever put off by more."""


def retry_delay_s(attempt: int, base_s: float, *, longest_s: float = LONGEST_DELAY_S) -> float:
    """Seconds to wait after the given failed attempt (1, 2, ...): doubles each time up to ``longest_s``, with jitter.

    The jitter of half either way keeps what failed together from coming back together.
    """
    doubled = base_s * 2.0 ** min(attempt - 1, 32)
    return min(doubled, longest_s) * random.uniform(*_JITTER)  # noqa: S311 - spreads load, guards nothing


def is_transient(error: BaseException) -> bool:
    """Whether another attempt may succeed: an error that says so itself, lack of memory, or the operating system's."""
    stated = getattr(type(error), "transient", None)
    return stated if isinstance(stated, bool) else isinstance(error, MemoryError | OSError)
