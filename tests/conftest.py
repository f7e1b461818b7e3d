"""What every test may ask for."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parent.parent

settings.register_profile("tests", deadline=None)  # how long an example takes is the machine's
settings.load_profile("tests")
os.environ.pop("COLUMNS", None)  # a table in a pipe is wide, whatever terminal the tests are run from


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real CT, which is never part of the repository; without it a test skips and says so."""
    folder = Path(os.environ.get("LUNGSENTRY_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "dicom").is_dir():
        pytest.skip(f"no real CT data at {folder} (set LUNGSENTRY_DATA)")
    return folder
