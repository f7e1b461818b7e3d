"""The public sets are read in the order of the folds, and a file that cannot be read is named."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis.evaluation.cases import EvaluationSet, find_cases
from analysis.training import prepare
from analysis.training.prepare import UnreadableData, build_cache


def _picture(path: Path, side: int = 24) -> None:
    grey = np.full((side, side), 200, np.uint8)
    grey[: side // 2] = 20
    for folder, suffix, values in (("Imgs", path.suffix, grey), ("GT", ".png", (grey > 100).astype(np.uint8))):
        place = path.parent / folder
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(place / f"{path.stem}{suffix}")


def test_pictures_are_read_as_evaluation_finds_them(tmp_path):
    """Every suffix, numbers in their order, other names, two folders: names and folds are those of evaluation."""
    for name in ("b/10.png", "b/2.jpg", "b/a_1.jpg", "a/2.JPEG", "a/1.jpeg", "a/3.png"):
        _picture(tmp_path / "medseg" / name)
    cases = build_cache(tmp_path).cases
    assert [case.name for case in cases] == ["b_a_1", "a_1", "a_2", "b_2", "a_3", "b_10"]
    found = find_cases(tmp_path, EvaluationSet.MEDSEG)
    assert [(case.name, case.fold) for case in cases] == [(case.name, case.fold) for case in found]


def _torn_zip(data: Path) -> Path:
    path = data / "covid20" / "torn.zip"
    path.parent.mkdir()
    path.write_bytes(b"PK\x03\x04 and no more")
    return path


def _empty_array(data: Path) -> Path:
    path = data / "lctsc" / "case_000.npz"
    path.parent.mkdir()
    np.savez(path, hu=np.zeros((2, 8, 8), np.int16))
    return path


def _no_lung(data: Path) -> Path:
    path = data / "lctsc" / "case_001.npz"
    path.parent.mkdir()
    np.savez(path, hu=np.zeros((2, 8, 8), np.int16), lung=np.zeros((2, 8, 8), bool))
    return path


def _no_truth(data: Path) -> Path:
    _picture(data / "medseg" / "t" / "a_1.jpg")
    (data / "medseg" / "t" / "GT" / "a_1.png").unlink()
    return data / "medseg" / "t" / "Imgs" / "a_1.jpg"


def _smaller_truth(data: Path) -> Path:
    _picture(data / "medseg" / "t" / "1.jpg")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(data / "medseg" / "t" / "GT" / "1.png")
    return data / "medseg" / "t" / "Imgs" / "1.jpg"


@pytest.mark.parametrize("spoil", [_torn_zip, _empty_array, _no_lung, _no_truth, _smaller_truth])
def test_a_file_that_cannot_be_read_is_named(tmp_path, spoil, capsys):
    """Each fault by the package's own error with the file's path; the command tells it without a traceback."""
    path = spoil(tmp_path)
    with pytest.raises(UnreadableData, match=path.name):
        build_cache(tmp_path)
    with pytest.raises(SystemExit) as ended:
        prepare.main(["--data", str(tmp_path), "--out", str(tmp_path / "cache.npz")])
    assert ended.value.code == 2
    assert str(path) in capsys.readouterr().err
