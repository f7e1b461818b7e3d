"""What a dead process acknowledged is indexed, whatever the wall clock did meanwhile."""

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom.dataset import Dataset

from db import ReceivedInstance
from dicom_node.storage.archive import Archive, FileMeta, content_digest
from dicom_node.storage.dead_receivers import Recovery

EXPLICIT = "1.2.840.10008.1.2.1"
NOON = 1_772_366_400.0
HOUR_S = 3600.0


class _Scene:
    """An archive with one file that has no row, an index that remembers, and two clocks."""

    def __init__(self, root: Path, encoded: bytes) -> None:
        self.wall_s, self.monotonic_s = NOON, 100.0
        self.indexed: list[str] = []
        archive = Archive(root)
        self.recovery = Recovery(
            SimpleNamespace(  # pyright: ignore[reportArgumentType] - only its intake is asked
                intake=SimpleNamespace(
                    series_paths=lambda _uid: (), find_versions=lambda _uid: (), record_instances=self._record
                )
            ),
            archive,
            threading.Event(),
            max_instance_bytes=1 << 20,
            wall=lambda: self.wall_s,
            monotonic=lambda: self.monotonic_s,
        )
        path = archive.relative_path(
            series_instance_uid="1.2.3.5", sop_instance_uid="1.2.3.4", digest=content_digest(encoded)
        )
        meta = FileMeta(
            sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
            sop_instance_uid="1.2.3.4",
            transfer_syntax_uid=EXPLICIT,
            calling_ae_title="CT1",
            called_ae_title="LUNGSENTRY",
        )
        self._file = archive.absolute(path)
        self._file.parent.mkdir(parents=True)
        self._file.write_bytes(meta.encode() + encoded)

    def run(self, seconds: float) -> None:
        """Time passes on both clocks."""
        self.wall_s += seconds
        self.monotonic_s += seconds

    def acknowledge(self) -> None:
        """The file is of this moment."""
        os.utime(self._file, (self.wall_s, self.wall_s))
        os.utime(self._file.parent, (self.wall_s, self.wall_s))

    def _record(self, instances: Sequence[ReceivedInstance]) -> tuple[Any, ...]:
        self.indexed += [one.sop_instance_uid for one in instances]
        return ()


@pytest.fixture
def scene(tmp_path: Path, make_dataset: Callable[..., Dataset], encode: Callable[[Dataset, str], bytes]) -> _Scene:
    """A file just acknowledged and not indexed."""
    scene = _Scene(tmp_path, encode(make_dataset(), EXPLICIT))
    scene.acknowledge()
    return scene


@pytest.mark.parametrize("step_s", [0.0, 24 * HOUR_S, -24 * HOUR_S], ids=["none", "forward", "back"])
def test_acknowledged_before_a_step_is_indexed_after_it(scene: _Scene, step_s: float) -> None:
    """The process dies a minute after the clock was stepped by a day: its file gets its row at once."""
    scene.wall_s += step_s
    scene.run(60)
    scene.recovery.recover()
    assert scene.indexed == ["1.2.3.4"]


def test_step_is_remembered_past_the_first_burial(scene: _Scene) -> None:
    """Another process died just after the step; what this one acknowledged before it still counts as recent."""
    scene.wall_s += 24 * HOUR_S
    scene.recovery.look_at_clock()
    scene.run(60)
    scene.recovery.recover()
    assert scene.indexed == ["1.2.3.4"]


def test_step_back_does_not_hide_the_one_forward(scene: _Scene) -> None:
    """A day back, a file, a day forward: the file seems a day old, and is indexed."""
    scene.wall_s -= 24 * HOUR_S
    scene.recovery.look_at_clock()
    scene.acknowledge()
    scene.wall_s += 24 * HOUR_S
    scene.recovery.recover()
    assert scene.indexed == ["1.2.3.4"]


def test_series_long_at_rest_is_left_alone(scene: _Scene) -> None:
    """Two hours that only ran are no step: a series that got nothing since then costs one look at its folder."""
    scene.run(2 * HOUR_S)
    scene.recovery.recover()
    assert scene.indexed == []
