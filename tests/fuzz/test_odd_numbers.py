"""Any number in any attribute, from the network to the result: a reason or a result, never an exception of a sweep.

``LUNGSENTRY_FUZZ`` sets how many series each database gets (30 unless told).
"""

import builtins
import os
from collections.abc import Iterator

import pydicom
import pytest
from ct_files import ct_slices
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inbound_bench import DATABASES, InboundBench, inbound_bench, settings_of
from odd_values import NUMERIC, ODD, put
from pydicom.config import disable_value_validation
from pydicom.uid import generate_uid
from raw_peer import ACCEPT, RELEASE_RP, RawPeer, data_pdu, encode, fragments, release_request, store_command

from analysis.series import Rule
from db import JobState, SeriesState
from dicom_node.settings import Completion

EXAMPLES = int(os.environ.get("LUNGSENTRY_FUZZ", "30"))
SLICES = 12
STATUSES = {0x0000, 0xA900, 0xC210}
ENDED = {SeriesState.ANALYSED, SeriesState.EXCLUDED, SeriesState.FAILED}
MOST_LOOKS = 10


@pytest.fixture(scope="module", params=DATABASES)
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InboundBench]:
    """A node on each database, whose series are complete when their sender has gone."""
    made = settings_of(request.param, tmp_path_factory.mktemp("node"))
    at_once = Completion(quiet_s=0, incomplete_quiet_s=0, sweep_s=0.1)
    receiver = made.receiver.model_copy(update={"processes": 1})
    with inbound_bench(made.model_copy(update={"completion": at_once, "receiver": receiver})) as opened:
        yield opened


def _send(bench: InboundBench, slices: list[pydicom.Dataset]) -> int:
    """How many the receiver took."""
    peer = RawPeer(bench.port)
    assert peer.associate() == ACCEPT
    taken = 0
    for dataset in slices:
        with disable_value_validation():
            encoded = encode(dataset)
        peer.socket.sendall(data_pdu(store_command(dataset.SOPInstanceUID), 3) + b"".join(fragments(encoded)))
        status = peer.status()
        assert status in STATUSES
        taken += status == 0
    peer.socket.sendall(release_request())
    answer = peer.read_pdu()
    assert answer is not None
    assert answer[0] == RELEASE_RP
    peer.socket.close()
    return taken


@pytest.mark.timeout(max(600, 20 * EXAMPLES))
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    spoilt=st.lists(st.tuples(st.sampled_from(NUMERIC), ODD), min_size=1, max_size=2),
    times=st.sampled_from([1, 2, 3, 6]),
    where=st.sampled_from(["one", "half", "all"]),
)
def test_any_number_in_any_attribute_ends_with_a_result_or_a_reason(
    bench: InboundBench, spoilt: list[tuple[str, str]], times: int, where: str
) -> None:
    """One attribute or two, in one slice, half of them or all: intake, completion, triage, analysis, by the ticks."""
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    slices = ct_slices(
        SLICES,
        StudyInstanceUID=study,
        SeriesInstanceUID=series,
        FrameOfReferenceUID=frame,
        SOPInstanceUID=lambda _index: generate_uid(),
    )
    for index, dataset in enumerate(slices):
        if where == "all" or (where == "half" and index % 2) or (where == "one" and index == SLICES // 2):
            for keyword, text in spoilt:
                put(dataset, keyword, text, times)
    if not _send(bench, slices):
        assert bench.store.series.get(series) is None
        return
    looks = 0
    while (ended := bench.of(series)).state not in ENDED:
        bench.tick()
        looks += 1
        assert looks < MOST_LOOKS, ended
    assert bench.store.failing_units.list(1) == ()
    assert ended.state is SeriesState.ANALYSED or ended.reason
    assert not (ended.reason or "").startswith(Rule.SCREENING.value), ended.reason
    for job in bench.store.jobs.list([JobState.FAILED], limit=1000):
        assert not hasattr(builtins, str(job.cause).split(maxsplit=1)[0].rstrip(":")), job.cause


def test_what_an_exception_of_a_sweep_would_leave_is_looked_for(
    bench: InboundBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail: a rule that raises leaves its mark where that test looks."""
    from dicom_node.completion import triage

    def faulty(_series: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(triage, "screen_series", faulty)
    uid = generate_uid()
    slices = ct_slices(
        SLICES,
        StudyInstanceUID=generate_uid(),
        SeriesInstanceUID=uid,
        SOPInstanceUID=lambda _index: generate_uid(),
    )
    assert _send(bench, slices) == SLICES
    while bench.of(uid).state not in ENDED:
        bench.tick()
    assert str(bench.of(uid).reason).startswith(Rule.SCREENING.value)
