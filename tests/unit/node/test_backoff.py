"""Whether and when to try again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import OutOfMemory, UndecodablePixels
from dicom_node.backoff import LONGEST_DELAY_S, is_transient, retry_delay_s


@given(st.integers(1, 10_000), st.floats(0.001, 1e4))
def test_delay_doubles_within_half_either_way_and_never_passes_its_cap(attempt: int, base_s: float) -> None:
    """The delay lies within half of base times two to the attempts before, and of the cap above that."""
    middle = min(base_s * 2.0 ** min(attempt - 1, 32), LONGEST_DELAY_S)
    assert 0.5 * middle <= retry_delay_s(attempt, base_s) <= 1.5 * middle


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (OutOfMemory("x"), True),
        (UndecodablePixels("x"), False),
        (MemoryError(), True),
        (OSError(28, "disk full"), True),
        (ValueError("a bug"), False),
        (ZeroDivisionError(), False),
    ],
)
def test_only_what_may_pass_is_transient(error: Exception, transient: bool) -> None:
    """Our errors say so themselves; of others lack of memory and the operating system's errors may pass."""
    assert is_transient(error) is transient
