"""What every test may ask for."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real CT; a laptop without it skips, CI fails."""
    folder = Path(os.environ.get("LUNGSENTRY_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "dicom").is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"the real CT data is missing: {folder} (set LUNGSENTRY_DATA)")
        pytest.skip(f"no real CT data at {folder} (set LUNGSENTRY_DATA)")
    return folder
